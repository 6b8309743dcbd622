import type { Bucket } from '../bucket/bucket.js';
import { RateLimitExceededException, RateLimitUnavailableException } from '../exceptions/rate-limit.exception.js';
import { RateLimitStoreError } from '../exceptions/rate-limit-store.error.js';
import { warnOnce } from '../observe/logger.js';
import { parseDuration } from '../util/duration.js';
import { checkOptionNames, formatError, invalidOption } from '../util/option-error.js';
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
    const refillTimes = bucket.policy.limits.map(({ fillTime }) => fillTime);
    this.tolerance = Math.max(TOLERANCE, Math.min(...refillTimes) * TOLERANCE_PART);
  }

  /**
   * Resolves when a call may be sent: it has taken a token, and its turn has come. A turn is void if the bucket was
   * blocked meanwhile, or if this process was too busy to notice it in time: calls that are sent late, next to those of
   * later turns, exceed the limit of the upstream. The call then takes another turn.
   */
  async wait(signal?: AbortSignal): Promise<void> {
    const deadline = this.now() + this.maxWait;
    for (let turns = 1; ; ) {
      const asked = this.now();
      const left = Math.max(0, deadline - asked);
      const { delay, retryAfter } = await this.takeTurn(left, signal).catch(toUnavailable);
      if (retryAfter > 0) {
        if (this.now() + retryAfter > deadline) throw this.exceeded(retryAfter);
        await this.bucket.sleep(retryAfter, signal);
      } else {
        if (this.now() - asked - delay <= this.tolerance || turns === MOST_TURNS) return;
        turns++;
      }
    }
  }

  /** Blocks the bucket if the upstream has rejected a call and said for how long. Never rejects. */
  async observe(response: UpstreamResponse): Promise<void> {
    const wait = Math.min(Math.ceil(upstreamWait(response, this.now())), this.maxBlock);
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

  /** Takes a token and waits for its turn, or returns after how many ms to try again. */
  private async takeTurn(maxWait: number, signal?: AbortSignal): Promise<{ delay: number; retryAfter: number }> {
    const blocked = this.blockedUntil - this.now();
    if (blocked > 0) return { delay: 0, retryAfter: blocked };
    try {
      const { delay } = await this.bucket.consume(1, { maxWait, signal });
      return { delay, retryAfter: delay > 0 ? await this.blockedFor() : 0 };
    } catch (error) {
      if (!(error instanceof RateLimitExceededException)) throw error;
      return { delay: 0, retryAfter: error.decision.retryAfter };
    }
  }

  /** Milliseconds until the end of a block: only a block denies a request for nothing that may wait without end. */
  private async blockedFor(): Promise<number> {
    const { store } = this.bucket;
    const { allowed, retryAfter } = await store.run({ verb: 'estimate', takes: this.bucket.takes(0, Infinity) });
    return allowed ? 0 : retryAfter;
  }

  private exceeded(retryAfter: number): OutboundLimitExceededException {
    return new OutboundLimitExceededException(this.bucket.policy.name, retryAfter);
  }

  private now(): number {
    return this.bucket.store.clock.now();
  }
}

/** Clients of this application receive a 503, as when the guard cannot decide. */
function toUnavailable(error: unknown): never {
  throw error instanceof RateLimitStoreError ? new RateLimitUnavailableException(error) : error;
}
