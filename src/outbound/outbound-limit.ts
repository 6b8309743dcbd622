import type { Bucket } from '../bucket/bucket.js';
import type { Slot } from '../concurrency/slot.js';
import type { AnsweredLimit } from '../core/answer.js';
import { RateLimitExceededException, RateLimitUnavailableException } from '../exceptions/rate-limit.exception.js';
import { RateLimitStoreError } from '../exceptions/rate-limit-store.error.js';
import { warnOnce } from '../observe/logger.js';
import { steadyTimeOf } from '../util/clock.js';
import { parseDuration } from '../util/duration.js';
import { checkOptionNames, formatError, invalidOption } from '../util/option-error.js';
import type { BodyHold } from './held-body.js';
import type { OutboundOptions } from './outbound.options.js';
import { OutboundLimitExceededException } from './outbound-limit.exception.js';
import { type UpstreamResponse, upstreamWait } from './upstream-wait.js';

/** By how many ms a call may be sent after its turn, or by which part of the time in which the limit refills. */
const TOLERANCE = 50;
const TOLERANCE_PART = 1 / 20;
/** The most turns that a call takes. One that has missed them all is sent: its process is always late. */
const MOST_TURNS = 5;

/**
 * Limits the calls of this process to one upstream: `wait` before each call, `observe` after it. The bucket is shared
 * with all other processes.
 */
export class OutboundLimit {
  private readonly maxWait: number;
  private readonly maxBlock: number;
  private readonly tolerance: number;
  /** Until when no call is sent although the store could not block the bucket. */
  private blockedUntil = 0;

  constructor(
    private readonly bucket: Bucket,
    options: OutboundOptions,
    known: readonly string[] = [],
  ) {
    if (typeof bucket?.consume !== 'function') invalidOption('bucket', 'a bucket of BucketService', bucket);
    if (typeof options !== 'object' || options === null) invalidOption('options', 'an object', options);
    checkOptionNames(options, ['maxWait', 'maxBlock', ...known]);
    const { maxWait, maxBlock = '5m' } = options;
    this.maxWait = maxWait === 0 || maxWait === Infinity ? maxWait : parseDuration('maxWait', maxWait);
    this.maxBlock = parseDuration('maxBlock', maxBlock);
    // A slot has no turn: it may be used late.
    const refillTimes = bucket.policy.limits.map(({ kind, fillTime }) =>
      kind === 'concurrency' ? Infinity : fillTime,
    );
    this.tolerance = Math.max(TOLERANCE, Math.min(...refillTimes) * TOLERANCE_PART);
  }

  /**
   * Resolves when a call may be sent: it has taken a token, and its turn has come. A turn is void if the bucket was
   * blocked during the wait, or if this process was too busy to notice it in time: calls that are sent late, next to those of
   * later turns, exceed the limit of the upstream. The call then takes another turn.
   *
   * If the policy has a concurrency limit, resolves with the slot of the call, which its caller must release.
   */
  async wait(signal?: AbortSignal): Promise<Slot | undefined> {
    const deadline = this.now() + this.maxWait;
    for (let turns = 1; ; ) {
      const left = Math.max(0, deadline - this.now());
      const { due, slot, retryAfter } = await this.takeTurn(left, signal).catch(toUnavailable);
      if (retryAfter === 0 && (this.now() - due <= this.tolerance || turns === MOST_TURNS)) return slot;
      void slot?.release();
      if (retryAfter === 0) {
        turns++;
      } else {
        if (this.now() + retryAfter > deadline) throw this.exceeded(retryAfter);
        await this.bucket.sleep(retryAfter, signal);
      }
    }
  }

  /** What holds `slot` until the body of a response has ended. */
  holdOf(slot: Slot): BodyHold {
    const { store, policy } = this.bucket;
    return { slot, clock: store.clock, policy: policy.name };
  }

  /** Blocks the bucket if the upstream has rejected a call and said for how long. Never rejects. */
  async observe(response: UpstreamResponse): Promise<void> {
    const wait = Math.min(Math.ceil(upstreamWait(response, this.bucket.store.clock.now())), this.maxBlock);
    if (wait <= 0) return;
    try {
      await this.bucket.block(wait);
    } catch (error) {
      this.blockedUntil = Math.max(this.blockedUntil, this.now() + wait);
      const { name } = this.bucket.policy;
      warnOnce.about(
        `unblocked ${name}`,
        `Policy ${name} blocks calls in this process only, after the upstream answered ${response.status}: ${formatError(error)}`,
      );
    }
  }

  /** Takes a token, and a slot, and waits for its turn, or returns after how many ms to try again. */
  private async takeTurn(maxWait: number, signal?: AbortSignal): Promise<Turn> {
    const blocked = this.blockedUntil - this.now();
    if (blocked > 0) return { due: 0, retryAfter: blocked };
    try {
      const turn = await this.take(maxWait, signal);
      return turn.isDelayed ? { ...turn, retryAfter: await this.blockedFor(turn) } : turn;
    } catch (error) {
      if (!(error instanceof RateLimitExceededException)) throw error;
      return { due: 0, retryAfter: error.decision.retryAfter };
    }
  }

  private async take(maxWait: number, signal?: AbortSignal): Promise<Turn> {
    if (this.bucket.policy.slotIndex < 0) {
      const asked = this.now();
      const { delay } = await this.bucket.consume(1, { maxWait, signal });
      return { due: asked + delay, isDelayed: delay > 0, retryAfter: 0 };
    }
    const slot = await this.bucket.acquire({ maxWait, signal });
    const { delay } = slot.answer;
    return { due: slot.since + delay, isDelayed: delay > 0, slot, retryAfter: 0 };
  }

  /** Milliseconds until the end of a block. */
  private async blockedFor({ slot }: Turn): Promise<number> {
    const { store } = this.bucket;
    try {
      const { allowed, retryAfter, limits } = await store.run({
        verb: 'estimate',
        takes: this.bucket.takes(0, Infinity),
      });
      if (allowed) return 0;
      // A request for nothing that may wait without end is denied by blocks only, or if it finds no slot.
      return slot ? ((limits[0] as AnsweredLimit).heldFor ?? 0) : retryAfter;
    } catch (error) {
      void slot?.release();
      throw error;
    }
  }

  private exceeded(retryAfter: number): OutboundLimitExceededException {
    return new OutboundLimitExceededException(this.bucket.policy.name, retryAfter);
  }

  private now(): number {
    return steadyTimeOf(this.bucket.store.clock);
  }
}

/** The turn of a call. */
interface Turn {
  /** When the call may be sent. */
  readonly due: number;
  /** Whether the call had to wait for its turn, so that the bucket may have been blocked during the wait. */
  readonly isDelayed?: boolean;
  readonly slot?: Slot;
  /** After how many ms to take another turn, because there was none or it is void; 0 if it is valid. */
  readonly retryAfter: number;
}

/** Clients of this application receive a 503, as when the guard cannot decide. */
function toUnavailable(error: unknown): never {
  throw error instanceof RateLimitStoreError ? new RateLimitUnavailableException(error) : error;
}
