import type { BucketState, Limit } from './algorithms/algorithm.js';

/** Changes limit `i` of `state`, whose debts are not the bucket's own. */
export type Change = (limit: Limit, state: BucketState, i: number) => void;

/** A copy of `debts`, changed as if they were the debts of `state`. Limits with a part have none. */
export function changedDebts(
  limits: readonly Limit[],
  state: BucketState,
  debts: readonly number[],
  change: Change,
): number[] {
  const changed = [...debts];
  const other = { ...state, debts: changed };
  for (let i = 0; i < limits.length; i++) if (!state.parts[i]) change(limits[i], other, i);
  return changed;
}
