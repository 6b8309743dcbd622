import type { StoreAnswer } from '../core/decision.js';
import type { Take } from '../core/request.js';
import { BUCKET, publishDecision } from '../observe/messages.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { chain } from '../util/maybe-promise.js';

/**
 * Takes from a bucket, and resolves with what `resultOf` returns. All errors reject. On a store that answers
 * synchronously it creates a single promise: an `async` function would take longer than the decision.
 */
export function takeNow<T>(
  store: RateLimitStore,
  takesOf: () => readonly Take[],
  resultOf: (answer: StoreAnswer, takes: readonly Take[]) => T,
): Promise<T> {
  try {
    const takes = takesOf();
    const result = chain(store.run({ verb: 'take', takes }), (answer) => {
      publishDecision(answer, takes, BUCKET);
      return resultOf(answer, takes);
    });
    return Promise.resolve(result);
  } catch (error) {
    return Promise.reject(error);
  }
}
