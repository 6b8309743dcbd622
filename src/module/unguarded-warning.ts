import type { Type } from '@nestjs/common';
import { RateLimitGuard } from '../guard/rate-limit.guard.js';
import { logger } from '../observe/logger.js';
import type { ExploredMethod } from '../policy/explorer.js';
import { guardsOf } from '../policy/routing.js';

/** With `guard: false` users bind the guard themselves, and may forget to: warns about limits without a guard. */
export function warnOfUnguarded(limited: Iterable<ExploredMethod>, globalGuards: readonly unknown[]): void {
  if (globalGuards.some(isRateLimitGuard)) return;
  const unguarded = [...limited].filter(({ type, method }) => ![type, method].some(isGuarded));
  if (unguarded.length === 0) return;
  const names = unguarded.map(({ type, property }: { type: Type; property: string }) => `${type.name}.${property}`);
  logger.warn(
    `No RateLimitGuard is bound to ${names.join(', ')}: their limits have no effect. With \`guard: false\`, bind it ` +
      'with @UseGuards(RateLimitGuard), or globally as APP_GUARD',
  );
}

function isGuarded(target: object): boolean {
  return guardsOf(target).some(isRateLimitGuard);
}

/** Whether a guard is the RateLimitGuard, its class, or one that extends it. */
function isRateLimitGuard(guard: unknown): boolean {
  const type = typeof guard === 'function' ? guard.prototype : guard;
  return type === RateLimitGuard.prototype || type instanceof RateLimitGuard;
}
