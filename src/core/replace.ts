import { admit } from './algorithms/sliding-window.js';
import { type BucketState, balanceOf, forget } from './bucket-state.js';
import type { Limit } from './limit.js';
import type { Policy } from './policy.js';

/** How `replacePolicy` carries a balance over to new numbers. */
export type ReplaceStrategy = 'reset' | 'as-is' | 'proportionally' | 'additive';
const REPLACE_STRATEGIES: readonly ReplaceStrategy[] = ['reset', 'as-is', 'proportionally', 'additive'];

/** For each limit of `to` the index of that of `from` whose balance it takes over: by name, else kind and place. */
export function matchLimits(from: Policy, to: Policy): number[] {
  const place = (policy: Policy, limit: Limit) =>
    policy.limits.filter((other) => other.kind === limit.kind).indexOf(limit);
  return to.limits.map((limit) => {
    const named = from.limits.findIndex((other) => other.name === limit.name && other.kind === limit.kind);
    if (named >= 0) return named;
    return from.limits.findIndex((other) => other.kind === limit.kind && place(from, other) === place(to, limit));
  });
}

/** A `RangeError` where `strategy` makes no sense: a window keeps its admissions or forgets them. */
export function checkReplace(to: Policy, strategy: ReplaceStrategy): void {
  if (!REPLACE_STRATEGIES.includes(strategy)) {
    throw new RangeError(`strategy must be one of ${REPLACE_STRATEGIES.join(', ')}, got ${String(strategy)}`);
  }
  if (strategy !== 'reset' && strategy !== 'as-is' && to.limits.some((limit) => limit.kind === 'window')) {
    throw new RangeError(`strategy must be 'reset' or 'as-is' for a sliding window, got ${strategy}`);
  }
}

/** Makes `target`, a state of `to`, what `source` holds; what it was is forgotten. */
export function replace(
  from: Policy,
  source: BucketState,
  to: Policy,
  target: BucketState,
  strategy: ReplaceStrategy,
): void {
  forget(target);
  target.at = source.at;
  target.blockedUntil = strategy === 'reset' ? 0 : source.blockedUntil;
  target.changed = true;
  if (strategy === 'reset') return;
  const matches = matchLimits(from, to);
  to.limits.forEach((limit, i) => {
    const old = from.limits[matches[i]];
    if (!old) return;
    const oldLog = source.logs[matches[i]];
    const log = target.logs[i];
    if (log && oldLog) {
      for (let k = oldLog.head; k < oldLog.list.length; k += 2) admit(limit, log, oldLog.list[k + 1], oldLog.list[k]);
    } else {
      target.debts[i] = carriedDebt(old, balanceOf(old, source, matches[i]), limit, strategy);
    }
  });
}

/** The new limit's debt, rounded up to a whole unit where the two do not count in the same. */
function carriedDebt(old: Limit, balance: number, limit: Limit, strategy: ReplaceStrategy): number {
  const amount = balance / old.weight;
  const capacity = limit.capacity / limit.weight;
  let carried = amount;
  if (strategy === 'proportionally') carried = (amount * capacity) / (old.capacity / old.weight);
  else if (strategy === 'additive') carried = amount + Math.max(0, capacity - old.capacity / old.weight);
  const debt = Math.ceil(limit.capacity - carried * limit.weight - 1e-6);
  return Math.min(Math.max(0, debt), Number.MAX_SAFE_INTEGER);
}
