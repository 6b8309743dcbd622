import { RETRY_HINT } from '../core/algorithms/concurrency.js';
import { AMOUNT_PER_TOKEN } from '../core/amount.js';
import { toAnswer } from '../core/answer.js';
import type { StoreAnswer } from '../core/decision.js';
import type { Take } from '../core/request.js';
import type { SlotHolder } from '../core/slot-holder.js';
import type { Slot } from './slot.js';

/** A request for a slot of each policy with a concurrency limit, and for the tokens of its other limits. */
export interface SlotRequest {
  readonly takes: readonly Take[];
  /** After how many ms a held slot is reported; `undefined` for never. */
  readonly maxHold?: number;
  /**
   * Called once the request waits for a slot; does not throw. `abort` rejects the request with `reason`, unless its wait
   * has ended. A wait that exceeds the `maxWait` of its takes ends with the last denial.
   */
  queue(denial: StoreAnswer, abort: (reason: unknown) => void): void;
}

/** The answer to a request, and its slot if it was admitted; tokens may still act later (`answer.delay`). */
export interface SlotAnswer {
  readonly answer: StoreAnswer;
  readonly slot: Slot | undefined;
}

/**
 * The takes of a denied request whose slots are missing, if that is the only reason why it was denied: otherwise none.
 * Other limits would have queued the request for up to its `maxWait`.
 */
export function takesWithoutSlot(takes: readonly Take[], { limits }: StoreAnswer): readonly Take[] {
  let first = 0;
  let isOnlySlots = true;
  const missing = takes.filter(({ policy, maxWait }) => {
    const answers = limits.slice(first, first + policy.limits.length);
    first += policy.limits.length;
    const others = answers.filter((_, i) => i !== policy.slotIndex);
    if (others.some(({ retryAfter }) => retryAfter > maxWait || retryAfter === Infinity)) isOnlySlots = false;
    return policy.slotIndex >= 0 && answers[policy.slotIndex].retryAfter > 0;
  });
  return isOnlySlots ? missing : [];
}

/** The slots of the policy `id` and `key` that are free after an answer; 0 if it is not among the takes. */
export function freeSlots(takes: readonly Take[], id: string, key: string, { limits }: StoreAnswer): number {
  let first = 0;
  for (const take of takes) {
    const { policy } = take;
    if (policy.id === id && take.key === key) return limits[first + policy.slotIndex].remaining;
    first += policy.limits.length;
  }
  return 0;
}

/** The answer to a take for nothing but a slot that the store has granted; `free` ones are left. */
export function grantedAnswer(take: Take, free: number): StoreAnswer {
  const [{ period }] = take.policy.limits;
  const row = [1, 0, take.amount, 0, 0, free * AMOUNT_PER_TOKEN, 0, period, free > 0 ? 0 : RETRY_HINT];
  return toAnswer([take], row, 'store');
}

/**
 * A copy of a take with its holder, for a request that waits `maxWait` ms at most. Spreading it would take longer than the
 * decision.
 */
export function withHolder(
  { policy, key, amount, amounts, checks, mark, onStoreError }: Take,
  maxWait: number,
  holder: SlotHolder | undefined,
): { [Name in keyof Required<Take>]: Take[Name] } {
  return { policy, key, amount, amounts, checks, maxWait, mark, holder, onStoreError };
}
