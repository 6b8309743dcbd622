import type { Slot } from '../concurrency/slot.js';
import type { SlotAnswer, SlotRequest } from '../concurrency/slot-request.js';
import { slotsOf } from '../concurrency/slots.js';
import { toDecision } from '../core/answer.js';
import type { StoreAnswer } from '../core/decision.js';
import type { Take } from '../core/request.js';
import { rejection } from '../exceptions/rate-limit.exception.js';
import { BUCKET, publishDecision, publishWait } from '../observe/messages.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { onAnyAbort } from '../util/any-signal.js';
import { type Duration, parseDuration } from '../util/duration.js';
import { chain, isPromise } from '../util/maybe-promise.js';
import { parseWait, type WaitOptions, waitForTokens } from './consume.js';

/** Options of `acquire` and `hold`. */
export interface AcquireOptions extends WaitOptions {
  /** A slot that is held for longer is reported on the channel `nest-rate-limit:slot-held-too-long`; default: none. */
  maxHold?: Duration;
}

type TakesOf = (maxWait: number) => readonly Take[];

/** Takes a slot, and waits until one is free and the tokens of other limits are available. */
export function acquireSlot(
  store: RateLimitStore,
  takesOf: TakesOf,
  { maxWait, signal, maxHold }: AcquireOptions,
  closing: AbortSignal | undefined,
): Promise<Slot> {
  try {
    const takes = takesOf(parseWait(maxWait));
    signal?.throwIfAborted();
    const request = new BucketRequest(store, takes, maxHold, signal, closing);
    const acquired = slotsOf(store).acquire(request);
    if (isPromise(acquired)) return request.answerOf(acquired).then((last) => finish(last, request));
    // A store that answers synchronously needs a single promise.
    return finish(acquired, request);
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Takes a slot that is free now, together with the tokens of other limits. */
export function tryAcquireSlot(
  store: RateLimitStore,
  takesOf: () => readonly Take[],
  maxHold: Duration | undefined,
): Promise<Slot | undefined> {
  try {
    const takes = takesOf();
    const request = new BucketRequest(store, takes, maxHold, undefined, undefined);
    const slot = chain(slotsOf(store).acquire(request), (acquired) => {
      publishDecision(acquired.answer, takes, BUCKET);
      return acquired.slot;
    });
    return Promise.resolve(slot);
  } catch (error) {
    return Promise.reject(error);
  }
}

/** A request of `acquire`, and its wait for a slot. */
class BucketRequest implements SlotRequest {
  readonly maxHold: number | undefined;
  private stopListening = () => {};
  private publishEnd: ReturnType<typeof publishWait> | undefined = undefined;

  constructor(
    readonly store: RateLimitStore,
    readonly takes: readonly Take[],
    maxHold: Duration | undefined,
    readonly signal: AbortSignal | undefined,
    readonly closing: AbortSignal | undefined,
  ) {
    this.maxHold = maxHold === undefined ? undefined : parseDuration('maxHold', maxHold);
  }

  queue(denial: StoreAnswer, abort: (reason: unknown) => void): void {
    this.publishEnd = publishWait(denial, this.takes, BUCKET, this.store.clock);
    this.stopListening = onAnyAbort([this.signal, this.closing], abort);
  }

  /** Publishes the end of the wait, if there was one. */
  async answerOf(acquired: Promise<SlotAnswer>): Promise<SlotAnswer> {
    try {
      const last = await acquired;
      this.publishEnd?.(last.slot ? 'passed' : 'late');
      return last;
    } catch (error) {
      this.publishEnd?.(this.closing?.aborted ? 'closed' : 'left');
      throw error;
    } finally {
      this.stopListening();
    }
  }
}

/** The slot of a request, once its tokens are available as well. */
function finish({ answer, slot }: SlotAnswer, request: BucketRequest): Promise<Slot> {
  publishDecision(answer, request.takes, BUCKET);
  if (!slot) throw rejection(toDecision(answer));
  const isReady = answer.delay === 0 && !request.signal?.aborted;
  return isReady ? Promise.resolve(slot) : waitWithSlot(answer, slot, request);
}

async function waitWithSlot(answer: StoreAnswer, slot: Slot, request: BucketRequest): Promise<Slot> {
  const { store, takes, signal, closing } = request;
  try {
    await waitForTokens(store, takes, answer, signal, closing);
  } catch (reason) {
    await slot.release();
    throw reason;
  }
  return slot;
}
