import type { BucketState, Limit, Scale } from './algorithms/algorithm.js';
import { MAX_TIME } from './algorithms/token-bucket.js';
import { type Change, changedDebts } from './debts.js';

/*
 * A policy that is resolved per request may have other numbers in each of them, for the same bucket. What a bucket keeps
 * is its balance: each request sees it with its own numbers, at most its own capacity, and refilled at its own rate since
 * the last change. So other numbers are no way to a full bucket. The state knows in which numbers its debts count, its
 * scales, and is kept until it is full in all numbers that it has ever counted in.
 *
 * Example: 2 of 10 tokens are left. A request with a capacity of 100 finds 2 of 100, and one with a capacity of 1 finds 1.
 */

interface Resolved {
  readonly limits: readonly Limit[];
  readonly scales: readonly Scale[] | undefined;
}

/** The scales of limits, for a state in their numbers. */
export function scalesOf(limits: readonly Limit[]): readonly Scale[] {
  return Object.freeze(
    limits.map(({ capacity, weight, fillTime }) => ({ capacity, weight, fillTime: Math.min(fillTime, MAX_TIME) })),
  );
}

/** Converts a state to the numbers of the policy, which has the limits that the state was written with. */
export function rescale(policy: Resolved, state: BucketState): void {
  const { limits } = policy;
  const { scales } = state;
  if (!scales || scales === policy.scales) return;
  const change: Change = (limit, { debts }, i) => {
    if (limit.algorithm.rescale) debts[i] = limit.algorithm.rescale(limit, debts[i], scales[i]);
  };
  const changed = (debts: readonly number[]) => changedDebts(limits, state, debts, change);
  state.marks = state.marks.map((mark) => ({ id: mark.id, limits: changed(mark.limits) }));
  if (state.queue) state.queue = { ...state.queue, debts: changed(state.queue.debts) };
  for (let i = 0; i < limits.length; i++) change(limits[i], state, i);
  state.scales = scalesOf(limits).map((scale, i) => ({
    ...scale,
    fillTime: Math.max(scale.fillTime, scales[i].fillTime),
  }));
}

/** Milliseconds until limit `i` is full in all numbers that the state has counted in. */
export function timeToFullIn({ capacity, fillTime }: Scale, debt: number): number {
  return Math.min(debt > capacity ? Math.ceil((fillTime / capacity) * debt) : fillTime, MAX_TIME);
}
