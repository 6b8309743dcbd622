import { toDecision } from '../core/answer.js';
import type { Decision, StoreAnswer } from '../core/decision.js';
import type { Take } from '../core/request.js';
import { rejection } from '../exceptions/rate-limit.exception.js';
import { BUCKET, publishDecision, publishWait } from '../observe/messages.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { undoTakes } from '../stores/undo-takes.js';
import { anySignal } from '../util/any-signal.js';
import { type Duration, parseDuration } from '../util/duration.js';
import { isPromise } from '../util/maybe-promise.js';
import { refundableDecision } from './refund.js';

/** Options of `consume`: how long it waits. */
export interface WaitOptions {
  /** The longest wait; default: no limit. `0` does not wait. */
  maxWait?: Duration;
  /** Aborting this signal ends the wait. */
  signal?: AbortSignal;
}

/** Milliseconds; unlike for a request, `Infinity` and 0 are valid. */
export function parseWait(maxWait: Duration = Infinity): number {
  return maxWait === 0 || maxWait === Infinity ? maxWait : parseDuration('maxWait', maxWait);
}

/** Takes tokens, and waits until they are available. `takesOf` returns the takes for a longest wait in ms. */
export async function consume(
  store: RateLimitStore,
  takesOf: (maxWait: number) => readonly Take[],
  { maxWait, signal }: WaitOptions,
  closing: AbortSignal | undefined,
): Promise<Decision> {
  const takes = takesOf(parseWait(maxWait));
  signal?.throwIfAborted();
  const pending = store.run({ verb: 'take', takes });
  const answer = isPromise(pending) ? await pending : pending;
  publishDecision(answer, takes, BUCKET);
  if (!answer.allowed) throw rejection(toDecision(answer));
  if (answer.delay > 0 || signal?.aborted) await waitForTokens(store, takes, answer, signal, closing);
  return refundableDecision(answer, takes);
}

/** Waits until the tokens of an answer may be used; if that is aborted, refunds them and rejects with the reason. */
export async function waitForTokens(
  store: RateLimitStore,
  takes: readonly Take[],
  answer: StoreAnswer,
  signal: AbortSignal | undefined,
  closing: AbortSignal | undefined,
): Promise<void> {
  const { delay } = answer;
  const publishEnd = delay > 0 ? publishWait(answer, takes, BUCKET, store.clock) : undefined;
  try {
    signal?.throwIfAborted();
    if (delay > 0) await sleepUnlessAborted(store, delay, signal, closing);
    publishEnd?.('passed');
  } catch (reason) {
    publishEnd?.(closing?.aborted ? 'closed' : 'left');
    await undoTakes(store, takes, answer);
    throw reason;
  }
}

/** Sleeps for `ms`; rejects if `signal` is aborted or the application closes. */
export async function sleepUnlessAborted(
  { clock }: RateLimitStore,
  ms: number,
  signal: AbortSignal | undefined,
  closing: AbortSignal | undefined,
): Promise<void> {
  const aborted = anySignal(signal, closing);
  try {
    await clock.sleep(ms, aborted.signal);
  } finally {
    aborted.release();
  }
}
