import { AMOUNT_PER_TOKEN } from '../amount.js';
import type { Limit } from '../limit.js';

/*
 * The token bucket, in whole numbers. Its state is the *debt*: the units that are missing from full. A full bucket
 * has no debt, an empty one owes its capacity, and one with people waiting in line owes more than that.
 *
 * A greedy bucket is refilled each millisecond, one of mode `intervally` at each multiple of its period since 1970;
 * the same lines serve both. GCRA and the leaky bucket as a meter are the greedy bucket under other names: the debt,
 * told as the instant when it will be paid, is GCRA's theoretical arrival time (Turner's meter; ITU-T I.371).
 *
 * Example: capacity 20, refill 10 per minute. One amount weighs 6 units and 1 unit comes back each ms, so a token
 * (1,000 amounts) takes 6,000 ms. Debt 120,000 is empty; a request of one token then waits for 6,000 units.
 */

/** What is left at `now` of the debt there was at `at`. */
export function debtAt(limit: Limit, debt: number, at: number, now: number): number {
  if (debt === 0) return 0;
  const gained = boundaries(limit, at, now) * limit.refill;
  return gained >= debt ? 0 : debt - gained;
}

/** Longest time that is told: after an absurd `charge` it would be no whole number any more. 140,000 years. */
const LONGEST_TOLD = 2 ** 52;

/** Milliseconds from `now` until `units` have come back; 0 if there are none to come, `Infinity` without refill. */
export function timeFor(limit: Limit, units: number, now: number): number {
  if (units <= 0) return 0;
  if (limit.refill === 0) return Infinity;
  const steps = Math.ceil(units / limit.refill);
  const ms = limit.period === 1 ? steps : (Math.floor(now / limit.period) + steps) * limit.period - now;
  return Math.min(ms, LONGEST_TOLD);
}

/** Milliseconds until `units` could be taken. Never, above the capacity. */
export function bucketWait(limit: Limit, debt: number, units: number, now: number): number {
  if (debt + units <= limit.capacity) return 0;
  return units > limit.capacity ? Infinity : timeFor(limit, debt + units - limit.capacity, now);
}

/** Milliseconds until the next whole token is there, or the bucket is full. */
export function bucketMore(limit: Limit, debt: number, now: number): number {
  const token = AMOUNT_PER_TOKEN * limit.weight;
  const balance = limit.capacity - debt;
  return timeFor(limit, Math.min(debt, (Math.floor(balance / token) + 1) * token - balance), now);
}

/**
 * The debt after `units` were taken at `now` to be used after `wait` ms. Where more comes back meanwhile than is waited
 * for, what would go beyond full is not saved up: another limit of the policy may be the slower one (`wait` is longer
 * than this limit's own), and a whole refill may be more than was missing. Only the rest of a millisecond is kept.
 */
export function bucketTake(limit: Limit, debt: number, units: number, now: number, own: number, wait: number): number {
  const held =
    own < wait || limit.period > 1 ? Math.max(debt, boundaries(limit, now, now + wait) * limit.refill) : debt;
  return Math.min(held + units, Number.MAX_SAFE_INTEGER);
}

/**
 * The debt after a reservation of `units` that was to act at `actAt` is cancelled. What was reserved behind it is not
 * given back, because those who wait there rely on its place in line (the rule of Go's x/time/rate). That is the debt
 * beyond `actAt`, or what comes back from then until the last in line goes on (at `lineEnd`), if he waits for more
 * than this limit.
 */
export function bucketCancel(
  limit: Limit,
  debt: number,
  units: number,
  now: number,
  actAt: number,
  lineEnd: number,
): number {
  const beyond = debt - limit.capacity - boundaries(limit, now, actAt) * limit.refill;
  const behind = Math.max(beyond, boundaries(limit, actAt, lineEnd) * limit.refill);
  return Math.max(0, debt - Math.max(0, units - Math.max(0, behind)));
}

/** Milliseconds since the last refill: as good as `now` itself for telling times, and a small number. */
export function phaseAt(limit: Limit, now: number): number {
  return limit.period === 1 ? 0 : now % limit.period;
}

/** How many refills lie in (from, to]. */
function boundaries(limit: Limit, from: number, to: number): number {
  return limit.period === 1 ? to - from : Math.floor(to / limit.period) - Math.floor(from / limit.period);
}
