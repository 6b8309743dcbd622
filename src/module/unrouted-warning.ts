import { logger } from '../observe/logger.js';
import type { DeclaredLimits, ExploredClass } from '../policy/explorer.js';
import { hasRoute, isRouted, isRoutedClass } from '../policy/routing.js';
import { RateLimitOptionError } from '../util/option-error.js';

const FIX = 'Add a route decorator such as @Get; if another decorator defines the routes, apply it above @RateLimit';

/**
 * Warns about decorators for which Nest runs no guard, in the classes that it routes to. Throws about the limits of a
 * class that it does not route to, because they apply to handlers only.
 */
export function warnOfUnrouted(classes: readonly ExploredClass[]): void {
  const effective = new Set(classes.flatMap(effectiveLimits));
  const isUnrouted = (limits: DeclaredLimits | undefined) =>
    limits && limits.inputs.length > 0 && !effective.has(limits.given);
  const names = { withoutEffect: new Set<string>(), direct: new Set<string>() };
  for (const explored of classes) {
    const { type, methods, declared } = explored;
    const isHandlerClass = isRoutedClass(explored);
    if (isUnrouted(declared)) {
      if (!isHandlerClass) throw classError(type.name);
      names.withoutEffect.add(type.name);
    }
    for (const { property, method, declared: limits } of methods) {
      if (limits?.from !== 'handler' || !isUnrouted(limits)) continue;
      if (hasRoute(method)) names.withoutEffect.add(`${type.name}.${property}`);
      else if (isHandlerClass) names.direct.add(`${type.name}.${property}`);
    }
  }
  warn('has no effect on', names.withoutEffect);
  warn('limits only direct calls of', names.direct);
}

function classError(name: string): RateLimitOptionError {
  return new RateLimitOptionError(
    `Invalid @RateLimit on ${name}: on a class it limits the handlers of a controller, resolver or gateway, got a class ` +
      'without any. Apply it to each method',
  );
}

/** Limits are recognized by the list of their decorators: other decorators may copy it, and subclasses inherit it. */
function effectiveLimits(explored: ExploredClass): (DeclaredLimits['given'] | undefined)[] {
  const routed = explored.methods.filter((method) => isRouted(explored, method));
  return routed.flatMap(({ declared }) => [declared?.given, explored.declared?.given]);
}

function warn(effect: string, names: ReadonlySet<string>): void {
  if (names.size > 0) logger.warn(`@RateLimit ${effect} ${[...names].join(', ')}: no guard runs there. ${FIX}`);
}
