import { logger } from '../observe/logger.js';
import type { DeclaredLimits, ExploredClass } from '../policy/explorer.js';
import { isRouted, isRoutedClass } from '../policy/routing.js';

/** Warns about decorators that have no effect, because Nest runs no guard for the method or class. */
export function warnOfUnrouted(classes: readonly ExploredClass[]): void {
  const effective = new Set(classes.flatMap(effectiveLimits));
  const unrouted = { handlers: new Set<string>(), others: new Set<string>() };
  for (const explored of classes) {
    const names = isRoutedClass(explored) ? unrouted.handlers : unrouted.others;
    const isUnrouted = (limits: DeclaredLimits | undefined) =>
      limits && limits.inputs.length > 0 && !effective.has(limits.given);
    const { type, methods, declared } = explored;
    if (isUnrouted(declared)) names.add(type.name);
    for (const { property, declared: limits } of methods) {
      if (limits?.from === 'handler' && isUnrouted(limits)) names.add(`${type.name}.${property}`);
    }
  }
  warn(
    unrouted.handlers,
    'Add a route decorator such as @Get; if another decorator defines the routes, apply it above @RateLimit',
  );
  warn(
    unrouted.others,
    'Limits apply to controllers, resolvers and gateways; elsewhere, take tokens from a bucket of BucketService',
  );
}

/** Limits are recognized by the list of their decorators: other decorators may copy it, and subclasses inherit it. */
function effectiveLimits(explored: ExploredClass): (DeclaredLimits['given'] | undefined)[] {
  const routed = explored.methods.filter((method) => isRouted(explored, method));
  return routed.flatMap(({ declared }) => [declared?.given, explored.declared?.given]);
}

function warn(names: ReadonlySet<string>, fix: string): void {
  if (names.size > 0) logger.warn(`@RateLimit has no effect on ${[...names].join(', ')}: no guard runs there. ${fix}`);
}
