import type { Slot } from '../concurrency/slot.js';
import type { SlotAnswer } from '../concurrency/slot-request.js';
import { slotsOf } from '../concurrency/slots.js';
import { toDecision } from '../core/answer.js';
import type { Take } from '../core/request.js';
import { rejection } from '../exceptions/rate-limit.exception.js';
import { BUCKET, publishDecision, publishWait } from '../observe/messages.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { type AnySignal, anySignal } from '../util/any-signal.js';
import { type Duration, parseDuration } from '../util/duration.js';
import { parseWait, type WaitOptions, waitForTokens } from './consume.js';

/** Options of `acquire` and `hold`. */
export interface AcquireOptions extends WaitOptions {
  /** A slot that is held for longer is reported on the channel `nest-rate-limit:slot-held-too-long`; default: none. */
  maxHold?: Duration;
}

type TakesOf = (maxWait: number) => readonly Take[];

/** Takes a slot, and waits until one is free and the tokens of other limits are available. */
export async function acquireSlot(
  store: RateLimitStore,
  takesOf: TakesOf,
  { maxWait, signal, maxHold }: AcquireOptions,
  closing: AbortSignal | undefined,
): Promise<Slot> {
  const takes = takesOf(parseWait(maxWait));
  signal?.throwIfAborted();
  const { answer, slot } = await waitForSlot(store, takes, signal, maxHold, closing);
  publishDecision(answer, takes, BUCKET);
  if (!slot) throw rejection(toDecision(answer));
  try {
    if (answer.delay > 0 || signal?.aborted) await waitForTokens(store, takes, answer, signal, closing);
  } catch (reason) {
    await slot.release();
    throw reason;
  }
  return slot;
}

/** Takes a slot that is free now, together with the tokens of other limits. */
export async function tryAcquireSlot(
  store: RateLimitStore,
  takesOf: () => readonly Take[],
  maxHold: Duration | undefined,
): Promise<Slot | undefined> {
  const takes = takesOf();
  const { answer, slot } = await waitForSlot(store, takes, undefined, maxHold, undefined);
  publishDecision(answer, takes, BUCKET);
  return slot;
}

async function waitForSlot(
  store: RateLimitStore,
  takes: readonly Take[],
  signal: AbortSignal | undefined,
  maxHold: Duration | undefined,
  closing: AbortSignal | undefined,
): Promise<SlotAnswer> {
  let aborted: AnySignal | undefined;
  let publishEnd: ReturnType<typeof publishWait> | undefined;
  const longestHold = maxHold === undefined ? undefined : parseDuration('maxHold', maxHold);
  try {
    const acquired = await slotsOf(store).acquire({
      takes,
      maxHold: longestHold,
      queue: (denial) => {
        aborted = anySignal(signal, closing);
        publishEnd = publishWait(denial, takes, BUCKET, store.clock);
        return aborted.signal;
      },
    });
    publishEnd?.(acquired.slot ? 'passed' : 'late');
    return acquired;
  } catch (error) {
    publishEnd?.(closing?.aborted ? 'closed' : 'left');
    throw error;
  } finally {
    aborted?.release();
  }
}
