import { bucketWait } from '../../core/algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import type { LimitState, StoreAnswer } from '../../core/decision.js';
import { amountFor, type Take } from '../../core/request.js';

/** A denied take, as the deny cache remembers it. Instants are those of this process's clock. */
export interface Denial {
  /** The takes that were denied, in the order of the request. */
  readonly takes: readonly Take[];
  readonly answer: StoreAnswer;
  /** When the store was called, and when it answered. */
  readonly calledAt: number;
  readonly answeredAt: number;
  /** Until when the same take is certainly denied. */
  readonly until: number;
}

/** The denial of `takes` that follows from `denial`, a denial from the same buckets; `undefined` if none follows. */
export function denialOf(denial: Denial, takes: readonly Take[]): Denial | undefined {
  // Policies that share a bucket may differ in `block`. If this one blocks for longer, the store must start its block.
  if (takes.some(({ policy }, i) => policy.block > denial.takes[i].policy.block)) return undefined;
  return takes.every((take, i) => sameAmounts(take, denial.takes[i])) ? denial : denyLargerCost(denial, takes);
}

function sameAmounts(one: Take, other: Take): boolean {
  return one.policy.limits.every((_, i) => amountFor(one, i) === amountFor(other, i));
}

/**
 * The denial of a larger cost, which has a longer wait. That wait can be computed only for a single greedy bucket that
 * is not blocked, where the answer contains the exact balance.
 */
function denyLargerCost(denial: Denial, [{ policy, amount }]: readonly Take[]): Denial | undefined {
  const [limit] = policy.limits;
  if (policy.limits.length > 1 || denial.takes.length > 1 || limit.kind !== 'bucket' || limit.period > 1) {
    return undefined;
  }
  const [{ amount: denied }] = denial.takes;
  const { answer, calledAt } = denial;
  const debt = Math.round(limit.capacity - answer.balance * AMOUNT_PER_TOKEN * limit.weight);
  if (bucketWait(limit, debt, denied * limit.weight, 0) !== answer.retryAfter) return undefined;
  const retryAfter = bucketWait(limit, debt, amount * limit.weight, 0);
  // A smaller cost may be allowed earlier. A cost that can never be allowed is left to the store, whose answer says so.
  if (amount < denied || retryAfter === Infinity) return undefined;
  const limits = answer.limits.map((state): LimitState => ({ ...state, retryAfter }));
  return { ...denial, answer: { ...answer, retryAfter, limits }, until: calledAt + retryAfter };
}

/**
 * The answer at `now`, with its times reduced by its age. When the store decided, between the call and its answer, is
 * unknown. The denial expires as if that had been at the call, and its times are reported as if it had been at the
 * answer, so no reported time is too short.
 */
export function answerAt({ answer, answeredAt }: Denial, now: number): StoreAnswer {
  const left = (ms: number) => Math.max(0, ms - Math.max(0, now - answeredAt));
  const limits = answer.limits.map(
    (limit): LimitState => ({
      ...limit,
      retryAfter: left(limit.retryAfter),
      resetAfter: left(limit.resetAfter),
      moreAfter: left(limit.moreAfter),
    }),
  );
  const { retryAfter, resetAfter } = answer;
  return { ...answer, retryAfter: left(retryAfter), resetAfter: left(resetAfter), source: 'cache', limits };
}
