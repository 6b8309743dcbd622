import type { BucketState, Limit, Mark } from './algorithms/algorithm.js';
import { type Change, changedDebts } from './debts.js';
import type { Policy } from './policy.js';
import { refundBehindQueue } from './queue.js';
import { type Amounts, amountFor } from './request.js';

/*
 * A mark lets one take be refunded, and nothing else, however much later. For each limit it has a number:
 *
 * - a window: the time of the take's admission;
 * - a bucket: the debt that only later takes would have left. With S the takes minus the refill since a take that left
 *   `debt`, the debt is now max(debt + S, mark). Had the take cost `a` less, the first of these would be `a` less and the
 *   second the same, so a refund of `a` leaves max(now - a, mark). For the mark of an older take, which contains this
 *   one, the same holds: max(its mark - a, this mark). Younger marks do not contain it.
 *
 * So a bucket's marks change as its debt does: they refill, and later takes add to them. A mark that has reached the
 * debt is spent: the bucket has been full since the take.
 *
 * Example: capacity 5, one token per second. A take of 5 leaves a debt of 5 and the mark 0. Three seconds later, after
 * another take of 1, the debt is 3 and the mark 1. A refund of 5 leaves max(3 - 5, 1) = 1: the later take, and no credit
 * for the refill that a bucket full of tokens would have lost.
 */

/** The most marks of a bucket. The oldest is dropped for another one: its take is then refunded nothing. */
export const MAX_MARKS = 32;

/** Adds the mark of a take that was made just now, to be used after `wait` ms. */
export function addMark({ limits }: Policy, state: BucketState, id: number, wait: number): void {
  const mark = { id, limits: limits.map((limit) => limit.algorithm.newMark(limit, state.at + wait)) };
  state.marks = [...state.marks.slice(1 - MAX_MARKS), mark];
}

/** Brings the marks from `state.at` up to `now`. */
export function advanceMarks(policy: Policy, state: BucketState, now: number): void {
  changeMarks(policy, state, (limit, marked, i) => limit.algorithm.advance(limit, marked, i, now));
}

/** Adds a later take to the marks. */
export function takeFromMarks(policy: Policy, state: BucketState, amounts: Amounts, wait: number): void {
  changeMarks(policy, state, (limit, marked, i) => limit.algorithm.take(limit, marked, i, amountFor(amounts, i), wait));
}

/** Subtracts a refund that is not that of one take from the marks. */
export function refundToMarks(policy: Policy, state: BucketState, amounts: Amounts): void {
  changeMarks(policy, state, (limit, marked, i) => limit.algorithm.refund(limit, marked, i, amountFor(amounts, i)));
}

/**
 * Keeps the marks at most at the debts, which a cancelled reservation has lowered. The marks of older takes contain it,
 * but how much of it is not known: rather too little is refunded.
 */
export function capMarks(policy: Policy, state: BucketState): void {
  changeMarks(policy, state, (_, { debts }, i) => {
    debts[i] = Math.min(debts[i], state.debts[i]);
  });
}

/** Changes the marks of all buckets as if they were debts. */
function changeMarks({ limits }: Policy, state: BucketState, change: Change): void {
  state.marks = state.marks.map((mark) => changed(mark, limits, state, change));
}

function changed(mark: Mark, limits: readonly Limit[], state: BucketState, change: Change): Mark {
  // The mark of a limit with a part is not a debt, and does not change.
  return { id: mark.id, limits: changedDebts(limits, state, mark.limits, change) };
}

/** Drops the marks that would refund nothing. */
export function dropSpentMarks({ limits }: Policy, state: BucketState): void {
  state.marks = state.marks.filter(({ limits: numbers }) =>
    limits.some((limit, i) => !limit.algorithm.isSpent(limit, state, i, numbers[i])),
  );
}

/** Drops a mark: its take will not be refunded. */
export function dropMark(state: BucketState, id: number | undefined): void {
  const dropped = id === undefined ? undefined : state.marks.find((mark) => mark.id === id);
  if (!dropped) return;
  state.marks = state.marks.filter((mark) => mark !== dropped);
  state.changed = true;
}

/** Refunds the amounts of the take with this mark. Does nothing if there is none, such as after another refund of it. */
export function refundMarked(policy: Policy, state: BucketState, amounts: Amounts, id: number): void {
  const { limits } = policy;
  const index = state.marks.findIndex((mark) => mark.id === id);
  if (index < 0) return;
  const own = state.marks[index].limits;
  const refund: Change = (limit, from, i) => limit.algorithm.refund(limit, from, i, amountFor(amounts, i), own[i]);
  for (let i = 0; i < limits.length; i++) refund(limits[i], state, i);
  if (state.queue) refundBehindQueue(policy, state, state.queue, amounts, own);
  const older = state.marks.slice(0, index).map((mark) => changed(mark, limits, state, refund));
  state.marks = [...older, ...state.marks.slice(index + 1)];
  state.changed = true;
}
