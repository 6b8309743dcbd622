import type { BucketQueue, BucketState, Reservation } from './algorithms/algorithm.js';
import { changedDebts } from './debts.js';
import type { Policy } from './policy.js';
import { type Amounts, amountFor } from './request.js';

/*
 * The queue of a bucket. A queued request reserves its amounts: the debts include them at once, so that later requests
 * wait behind it. For requests that leave, the queue also keeps the amounts of each reservation, and the debts without
 * reservations. When all requests have left, the debts are those, as if none had queued. While some remain, they keep
 * their instants, and later requests act no earlier than the last of them.
 *
 * Example: one token per second, an empty bucket, ten requests for one token each: they act after 1, 2, … 10 seconds. If
 * the first nine leave, the tenth still acts after ten seconds and the next request behind it, after eleven. When the
 * tenth leaves as well, the next request acts after one second.
 */

/**
 * The most reservations of a bucket. Beyond, two neighbors are merged: they count as one that acts at the later of both
 * instants, so after some of a merged reservation have acted, the rest cannot leave early without trace.
 */
export const MAX_RESERVATIONS = 128;

/** Adds a reservation that acts after `wait` ms. Call it before the debts include it. */
export function enqueue({ limits }: Policy, state: BucketState, amounts: Amounts, wait: number): void {
  const actAt = state.at + wait;
  const reservation = { actAt, amounts: limits.map((_, i) => amountFor(amounts, i)) };
  const { debts, reservations } = state.queue ?? { debts: [...state.debts], reservations: [] };
  const last = reservations.at(-1);
  // Those that act at the same instant are one.
  const next =
    last?.actAt === actAt ? [...reservations.slice(0, -1), sum(last, reservation)] : [...reservations, reservation];
  state.queue = { debts, reservations: bounded(next, state.at) };
  state.queueEnd = actAt;
}

/** Brings the queue from `state.at` up to `now`: the debts without the queue include requests that have acted. */
export function advanceQueue({ limits }: Policy, state: BucketState, queue: BucketQueue, now: number): void {
  const next = queue.reservations.findIndex(({ actAt }) => actAt > now);
  if (next < 0) {
    state.queue = undefined;
    return;
  }
  const acted = takeAll(state, limits, { ...queue, reservations: queue.reservations.slice(0, next) });
  const debts = changedDebts(limits, state, acted, (limit, other, i) => limit.algorithm.advance(limit, other, i, now));
  state.queue = { debts, reservations: queue.reservations.slice(next) };
}

/** Adds a take that does not wait to the debts without the queue. */
export function chargeBehindQueue({ limits }: Policy, state: BucketState, queue: BucketQueue, amounts: Amounts): void {
  const debts = changedDebts(limits, state, queue.debts, (limit, other, i) =>
    limit.algorithm.take(limit, other, i, amountFor(amounts, i), 0),
  );
  state.queue = { ...queue, debts };
}

/**
 * Subtracts a refund from the debts without the queue; call it after the debts were refunded. A refund is lost as far as
 * the bucket is full before a queued request acts. If it is that of a take, the `mark` of that take includes later
 * reservations, so rather too little is subtracted.
 */
export function refundBehindQueue(
  { limits }: Policy,
  state: BucketState,
  queue: BucketQueue,
  amounts: Amounts,
  mark?: readonly number[],
): void {
  const debts = changedDebts(limits, state, queue.debts, (limit, other, i) => {
    limit.algorithm.refund(limit, other, i, amountFor(amounts, i), mark?.[i]);
    other.debts[i] = Math.min(other.debts[i], queue.debts[i]);
  });
  state.queue = { ...queue, debts };
  if (mark) return;
  const needed = takeAll(state, limits, state.queue);
  for (let i = 0; i < limits.length; i++) state.debts[i] = Math.max(state.debts[i], needed[i]);
}

/** Cancels a reservation of `amounts` that would have acted at `actAt`. */
export function cancelReservation(
  { limits }: Policy,
  state: BucketState,
  queue: BucketQueue,
  amounts: Amounts,
  actAt: number,
): void {
  const index = queue.reservations.findIndex((reservation) => reservation.actAt >= actAt);
  const { amounts: reserved, actAt: at } = queue.reservations[index];
  const canceled = reserved.map((amount, i) => Math.min(amount, amountFor(amounts, i)));
  const rest = { actAt: at, amounts: reserved.map((amount, i) => amount - canceled[i]) };
  const reservations = [...queue.reservations];
  reservations.splice(index, 1, ...(rest.amounts.some((amount) => amount > 0) ? [rest] : []));
  const remaining = { ...queue, reservations };
  state.queue = reservations.length > 0 ? remaining : undefined;
  state.queueEnd = reservations.at(-1)?.actAt ?? 0;
  const needed = takeAll(state, limits, remaining);
  for (let i = 0; i < limits.length; i++) {
    limits[i].algorithm.cancel(limits[i], state, i, canceled[i], actAt, needed[i]);
  }
}

/** The debts after all reservations of `queue`. */
function takeAll(
  state: BucketState,
  limits: Policy['limits'],
  { debts, reservations }: BucketQueue,
): readonly number[] {
  return reservations.reduce<readonly number[]>(
    (taken, { actAt, amounts }) =>
      changedDebts(limits, state, taken, (limit, other, i) =>
        limit.algorithm.take(limit, other, i, amounts[i], actAt - state.at),
      ),
    debts,
  );
}

/** If there are too many, merges the two neighbors that then span the shortest time; of equal ones, the last. */
function bounded(reservations: Reservation[], now: number): readonly Reservation[] {
  if (reservations.length <= MAX_RESERVATIONS) return reservations;
  const startOf = (index: number) => (index > 0 ? reservations[index - 1].actAt : now);
  let best = 0;
  for (let i = 1; i + 1 < reservations.length; i++) {
    const span = reservations[i + 1].actAt - startOf(i);
    if (span <= reservations[best + 1].actAt - startOf(best)) best = i;
  }
  reservations.splice(best, 2, sum(reservations[best], reservations[best + 1]));
  return reservations;
}

/** Two reservations as one that acts with the later one. */
function sum(one: Reservation, later: Reservation): Reservation {
  const amounts = later.amounts.map((amount, i) => Math.min(amount + one.amounts[i], Number.MAX_SAFE_INTEGER));
  return { actAt: later.actAt, amounts };
}
