import { AMOUNT_PER_TOKEN } from '../amount.js';
import { type Algorithm, type Limit, REPLACE_STRATEGIES, type ReplaceStrategy } from './algorithm.js';
import { shareOf } from './share.js';

/*
 * The token bucket, in whole numbers. Its state is the *debt*: the units missing from full. A full bucket has no debt,
 * an empty one owes its capacity, and one with queued requests owes more than that.
 *
 * A greedy bucket is refilled each millisecond, one with `refillMode: 'intervally'` at each multiple of its period since
 * 1970; the same code serves both. GCRA and the leaky bucket as a meter are the greedy bucket under other names: the
 * debt, expressed as the instant when it will be paid, is GCRA's theoretical arrival time (Turner's meter; ITU-T I.371).
 *
 * Example: capacity 20, refill 10 per minute. One amount weighs 6 units and 1 unit comes back each ms, so a token
 * (1,000 amounts) takes 6,000 ms. A debt of 120,000 is empty; a request for one token then waits for 6,000 units.
 */

/** The rest at `now` of the debt at `at`. */
export function debtAt(limit: Limit, debt: number, at: number, now: number): number {
  if (debt === 0) return 0;
  const gained = boundaries(limit, at, now) * limit.refill;
  return gained >= debt ? 0 : debt - gained;
}

/** The longest time reported: after an absurd `charge` it would no longer be a whole number. 140,000 years. */
export const MAX_TIME = 2 ** 52;

/** Milliseconds from `now` until `units` have come back; 0 if there are none to come, `Infinity` without refill. */
export function timeFor(limit: Limit, units: number, now: number): number {
  if (units <= 0) return 0;
  if (limit.refill === 0) return Infinity;
  const steps = Math.ceil(units / limit.refill);
  const ms = limit.period === 1 ? steps : (Math.floor(now / limit.period) + steps) * limit.period - now;
  return Math.min(ms, MAX_TIME);
}

/** Milliseconds until `units` can be taken; `Infinity` above the capacity. */
export function bucketWait(limit: Limit, debt: number, units: number, now: number): number {
  if (debt + units <= limit.capacity) return 0;
  return units > limit.capacity ? Infinity : timeFor(limit, debt + units - limit.capacity, now);
}

/** Milliseconds until the next whole token is available, or the bucket is full. */
export function bucketMore(limit: Limit, debt: number, now: number): number {
  const token = AMOUNT_PER_TOKEN * limit.weight;
  const balance = limit.capacity - debt;
  return timeFor(limit, Math.min(debt, (Math.floor(balance / token) + 1) * token - balance), now);
}

/**
 * The debt after `units` were taken at `now` to be used after `wait` ms. If more comes back during the wait than is
 * needed, nothing beyond full is saved up: another limit of the policy may be the slower one (`wait` is longer than
 * this limit's own), and a whole refill may be more than was missing. Only the rest of a millisecond is kept.
 */
export function bucketTake(
  limit: Limit,
  debt: number,
  units: number,
  now: number,
  ownWait: number,
  wait: number,
): number {
  const reserved =
    ownWait < wait || limit.period > 1 ? Math.max(debt, boundaries(limit, now, now + wait) * limit.refill) : debt;
  return Math.min(reserved + units, Number.MAX_SAFE_INTEGER);
}

/**
 * The debt after a reservation of `units` that would have acted at `actAt` is cancelled. What later reservations rely
 * on is not refunded (as in Go's x/time/rate). That is the debt beyond `actAt`, or what comes back from then until the
 * last reservation acts (at `queueEnd`), if that one waits for more than this limit. But when that one has acted, the
 * bucket is no worse than empty, or than the `needed` debt, which is that of the remaining reservations alone: so
 * nothing is left of cancelled reservations that have no remaining ones behind them. That may be worse than empty: after
 * charges, or by less than a millisecond, because reservations act at whole ones.
 */
export function bucketCancel(
  limit: Limit,
  debt: number,
  units: number,
  now: number,
  actAt: number,
  queueEnd: number,
  needed: number,
): number {
  const beyond = debt - limit.capacity - boundaries(limit, now, actAt) * limit.refill;
  const behind = Math.max(beyond, boundaries(limit, actAt, queueEnd) * limit.refill);
  const refunded = debt - Math.max(0, units - Math.max(0, behind));
  const empty = queueEnd === 0 ? 0 : limit.capacity + boundaries(limit, now, queueEnd) * limit.refill;
  return Math.min(debt, Math.max(needed, Math.min(refunded, empty)));
}

/** Milliseconds since the last refill. It yields the same waits as `now`, and is a small number. */
export function phaseAt(limit: Limit, now: number): number {
  return limit.period === 1 ? 0 : now % limit.period;
}

/** The number of refills in (from, to]. */
function boundaries(limit: Limit, from: number, to: number): number {
  return limit.period === 1 ? to - from : Math.floor(to / limit.period) - Math.floor(from / limit.period);
}

/** The new limit's debt, rounded up to a whole unit where the two limits count in different units. */
export function carriedDebt(
  old: Pick<Limit, 'capacity' | 'weight'>,
  balance: number,
  limit: Limit,
  strategy: ReplaceStrategy,
): number {
  const amount = balance / old.weight;
  const capacity = limit.capacity / limit.weight;
  let carried = amount;
  if (strategy === 'proportionally') carried = (amount * capacity) / (old.capacity / old.weight);
  else if (strategy === 'additive') carried = amount + Math.max(0, capacity - old.capacity / old.weight);
  const debt = Math.ceil(limit.capacity - carried * limit.weight - 1e-6);
  return Math.min(Math.max(0, debt), Number.MAX_SAFE_INTEGER);
}

/** The token bucket as an algorithm: its whole state is `state.debts[i]`. */
export const tokenBucket: Algorithm = {
  id: 1,
  title: 'token bucket',
  leasable: true,
  strategies: REPLACE_STRATEGIES,

  fingerprint({ size, refill, weight, period }) {
    return `b${size}:${refill}/${weight}${period === 1 ? '' : `@${period}`}`;
  },

  structure: () => 'b',

  rescale(limit, debt, scale) {
    if (scale.capacity === limit.capacity && scale.weight === limit.weight) return debt;
    return carriedDebt(scale, scale.capacity - debt, limit, 'as-is');
  },

  divide(limit, instances) {
    const size = shareOf(limit.size, instances, AMOUNT_PER_TOKEN);
    // The refill is divided by giving each unit more weight, not by rounding it.
    const weight = limit.weight * instances;
    const capacity = Math.round(size * AMOUNT_PER_TOKEN) * weight;
    const steps = limit.refill === 0 ? Infinity : Math.ceil(capacity / limit.refill);
    return { ...limit, size, weight, capacity, fillTime: steps * limit.period };
  },

  newPart: () => undefined,

  advance(limit, { debts, at }, i, now) {
    debts[i] = debtAt(limit, debts[i], at, now);
  },

  wait: (limit, { debts, at }, i, amount) => bucketWait(limit, debts[i], amount * limit.weight, at),

  take(limit, { debts, at }, i, amount, wait) {
    // A request that waits for another limit only.
    if (amount === 0) return;
    const units = amount * limit.weight;
    // Merged reservations may exceed the capacity.
    const ownWait = wait === 0 ? 0 : timeFor(limit, debts[i] + units - limit.capacity, at);
    debts[i] = bucketTake(limit, debts[i], units, at, ownWait, wait);
  },

  refund(limit, { debts }, i, amount, mark = 0) {
    debts[i] = Math.max(mark, debts[i] - amount * limit.weight);
  },

  newMark: () => 0,

  isSpent: (_limit, { debts }, i, mark) => mark >= debts[i],

  cancel(limit, { debts, at, queueEnd }, i, amount, actAt, needed) {
    debts[i] = bucketCancel(limit, debts[i], amount * limit.weight, at, actAt, queueEnd, needed);
  },

  used: (_limit, { debts }, i) => debts[i],

  timeToFull: (limit, { debts, at }, i) => timeFor(limit, debts[i], at),

  timeToNext: (limit, { debts, at }, i) => bucketMore(limit, debts[i], at),

  restrict(limit, state, i, { at, used, moreAfter }) {
    state.debts[i] = Math.max(state.debts[i], debtAt(limit, used, at, state.at));
    // More would have come sooner if the bucket were not blocked. Its refills follow another clock.
    const isBlocked = moreAfter > bucketMore(limit, used, at) + limit.period;
    if (isBlocked && at + moreAfter > state.at) state.blockedUntil = Math.max(state.blockedUntil, at + moreAfter);
  },

  replace(limit, state, i, from, strategy) {
    const balance = from.limit.capacity - from.state.debts[from.k];
    state.debts[i] = carriedDebt(from.limit, balance, limit, strategy);
  },
};

/** The most tokens that can be counted exactly: half of what a double can, as the balance may be as far below zero. */
export function mostTokens(weight: number): number {
  return Math.floor(Number.MAX_SAFE_INTEGER / 2 / weight / AMOUNT_PER_TOKEN);
}

/** A token bucket of `amount` that gains `gain` per `period` ms. `size` is `amount` in tokens, at most `mostTokens`. */
export function tokenBucketLimit(size: number, amount: number, gain: number, period: number, greedy: boolean): Limit {
  const divisor = greedy ? greatestCommonDivisor(gain, period) : 1;
  const weight = greedy && gain > 0 ? period / divisor : 1;
  const capacity = amount * weight;
  const units = gain / divisor;
  const step = greedy ? 1 : period;
  return {
    kind: 'bucket',
    algorithm: tokenBucket,
    name: 'bucket',
    size,
    capacity,
    weight,
    refill: Math.min(units, capacity),
    period: step,
    slot: 1,
    fillTime: gain === 0 ? Infinity : Math.ceil(capacity / units) * step,
  };
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
