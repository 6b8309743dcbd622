import type { StoreAnswer } from '../core/decision.js';
import type { Take } from '../core/request.js';
import type { RateLimitStore } from './rate-limit.store.js';

/** When the takes of an answer act, for their refund or cancellation. */
export function actTimes({ actAt, takenAt }: StoreAnswer): readonly number[] | undefined {
  return actAt ?? (takenAt === undefined ? undefined : [takenAt]);
}

/**
 * Refunds what an answer has taken, or cancels its reservation, for a request that no longer needs it. Never rejects: if
 * the store is unavailable, the tokens stay taken, and the limit holds.
 */
export async function undoTakes(store: RateLimitStore, takes: readonly Take[], answer: StoreAnswer): Promise<void> {
  const { delay, source } = answer;
  try {
    await store.run({ verb: delay > 0 ? 'cancel' : 'put', takes, actAt: actTimes(answer), source });
  } catch {}
}
