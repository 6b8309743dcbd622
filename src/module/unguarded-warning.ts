import { Logger, type Type } from '@nestjs/common';
import { RateLimitGuard } from '../guard/rate-limit.guard.js';
import type { Handler } from '../policy/explorer.js';

/** Where Nest keeps what `@UseGuards` was given. */
const GUARDS = '__guards__';

/** With `guard: false` everybody binds the guard himself, and may forget it: warns of limits that nothing looks after. */
export function warnOfUnguarded(
  limited: Iterable<{ readonly type: Type; readonly handler: Handler }>,
  globalGuards: readonly unknown[],
): void {
  if (globalGuards.some(isOurs)) return;
  const found = [...limited].filter(({ type, handler }) => ![type, handler].some(isGuarded));
  if (found.length === 0) return;
  const names = found.map(({ type, handler }) => `${type.name}.${handler.name}`).join(', ');
  new Logger('RateLimit').warn(
    `No RateLimitGuard is bound to ${names}: their limits do nothing. With \`guard: false\`, bind it by ` +
      '@UseGuards(RateLimitGuard), or for all as APP_GUARD',
  );
}

function isGuarded(target: object): boolean {
  return (Reflect.getMetadata(GUARDS, target) ?? []).some(isOurs);
}

/** The guard itself or its class, or one that extends it. */
function isOurs(guard: unknown): boolean {
  const type = typeof guard === 'function' ? guard.prototype : guard;
  return type === RateLimitGuard.prototype || type instanceof RateLimitGuard;
}
