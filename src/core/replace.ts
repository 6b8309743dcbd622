import { type BucketState, type Limit, REPLACE_STRATEGIES, type ReplaceStrategy } from './algorithms/algorithm.js';
import { clear } from './bucket-state.js';
import type { Policy } from './policy.js';

/** For each limit of `to` the index of that limit of `from` whose balance it takes over: by name, else kind and place. */
export function matchLimits(from: Policy, to: Policy): number[] {
  const place = (policy: Policy, limit: Limit) =>
    policy.limits.filter((other) => other.algorithm === limit.algorithm).indexOf(limit);
  return to.limits.map((limit) => {
    const named = from.limits.findIndex((other) => other.name === limit.name && other.kind === limit.kind);
    if (named >= 0) return named;
    // A soft limit and one that is not may be of the same kind.
    const { algorithm } = limit;
    return from.limits.findIndex((other) => other.algorithm === algorithm && place(from, other) === place(to, limit));
  });
}

/** Throws a `RangeError` if a limit of `to` does not support `strategy`: a window keeps its admissions or drops them. */
export function checkReplace(to: Policy, strategy: ReplaceStrategy): void {
  if (!REPLACE_STRATEGIES.includes(strategy)) {
    throw new RangeError(`strategy must be one of ${REPLACE_STRATEGIES.join(', ')}, got ${String(strategy)}`);
  }
  const unable = to.limits.find(({ algorithm }) => !algorithm.strategies.includes(strategy))?.algorithm;
  if (unable) {
    const supported = unable.strategies.map((known) => `'${known}'`).join(' or ');
    throw new RangeError(`strategy must be ${supported} for a ${unable.title}, got ${strategy}`);
  }
}

/** Carries `source`, a state of `from`, over to `target`, a state of `to`, which loses what it held before. */
export function replace(
  from: Policy,
  source: BucketState,
  to: Policy,
  target: BucketState,
  strategy: ReplaceStrategy,
): void {
  clear(to, target);
  target.at = source.at;
  target.changed = true;
  if (strategy === 'reset') return;
  target.blockedUntil = source.blockedUntil;
  const matches = matchLimits(from, to);
  to.limits.forEach((limit, i) => {
    const k = matches[i];
    if (k < 0) return;
    limit.algorithm.replace(limit, target, i, { limit: from.limits[k], state: source, k }, strategy);
  });
}
