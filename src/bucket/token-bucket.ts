import type { Limit } from '../core/algorithms/algorithm.js';
import {
  bucketCancel,
  bucketTake,
  bucketWait,
  debtAt,
  mostTokens,
  tokenBucketLimit,
} from '../core/algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN, amountOf, toAmount } from '../core/amount.js';
import { type Clock, systemClock } from '../util/clock.js';
import { type Duration, MAX_DURATION, parseDuration } from '../util/duration.js';

/** Rates are counted in millionths of a token per second. */
const RATE_STEPS = 1e6;

/**
 * A token bucket in the memory of this process, without Nest, store or key. It starts full.
 *
 * ```ts
 * const bucket = new TokenBucket(20, 10); // holds 20 tokens, gains 10 per second
 * if (bucket.allow()) send();
 * await bucket.wait(5); // queued in FIFO order
 * ```
 */
export class TokenBucket {
  private readonly limit: Limit;
  private readonly clock: Clock;
  private debt = 0;
  private at: number;

  /**
   * Throws a `RangeError` if an argument is invalid.
   *
   * @param capacity The most tokens that the bucket holds: positive, at most three decimals.
   * @param tokensPerSecond The refill rate: positive, rounded to a millionth.
   */
  constructor(capacity: number, tokensPerSecond: number, { clock = systemClock }: { clock?: Clock } = {}) {
    const amount = toAmount(capacity);
    if (amount === undefined) throw new RangeError(`capacity must be ${capacityRule(capacity)}, got ${capacity}`);
    const rate = Math.round(tokensPerSecond * RATE_STEPS);
    if (!(tokensPerSecond > 0) || !(rate > 0)) {
      throw new RangeError(`tokensPerSecond must be positive, got ${tokensPerSecond}`);
    }
    if (!Number.isSafeInteger(rate)) {
      throw new RangeError(`tokensPerSecond must be at most 9e9, got ${tokensPerSecond}`);
    }
    // rate / RATE_STEPS tokens per second equal as many amounts per ms.
    this.limit = tokenBucketLimit(capacity, amount, rate, RATE_STEPS, true);
    const largest = mostTokens(this.limit.weight);
    if (capacity > largest) throw new RangeError(`capacity must be at most ${largest} at this rate, got ${capacity}`);
    this.clock = clock;
    this.at = clock.now();
  }

  /** The number of tokens now; negative while callers wait. */
  get available(): number {
    this.advance();
    return (this.limit.capacity - this.debt) / (this.limit.weight * AMOUNT_PER_TOKEN);
  }

  /** Takes `n` tokens (default 1) immediately, or none. Returns whether they were taken. */
  allow(n = 1): boolean {
    const units = amountOf(n) * this.limit.weight;
    this.advance();
    if (bucketWait(this.limit, this.debt, units, this.at) > 0) return false;
    this.debt += units;
    return true;
  }

  /** Alias of `allow`. */
  tryConsume(n = 1): boolean {
    return this.allow(n);
  }

  /**
   * Takes `n` tokens (default 1), waiting in the queue (FIFO) until they are available.
   *
   * Rejects immediately, and takes nothing, with a `RangeError` if `n` exceeds the capacity, and with a `TimeoutError`
   * if the wait would exceed `timeout` (default: ten years). If `signal` is aborted during the wait, the promise
   * rejects with the signal's reason, and the tokens that no later waiter depends on are refunded.
   */
  async wait(
    n = 1,
    { timeout = MAX_DURATION, signal }: { timeout?: Duration; signal?: AbortSignal } = {},
  ): Promise<void> {
    const units = amountOf(n) * this.limit.weight;
    if (units > this.limit.capacity) {
      throw new RangeError(`tokens must be at most the capacity of ${this.limit.size}, got ${n}`);
    }
    const longestWait = timeout === 0 ? 0 : parseDuration('timeout', timeout);
    signal?.throwIfAborted();
    this.advance();
    const wait = bucketWait(this.limit, this.debt, units, this.at);
    if (wait === 0) {
      this.debt += units;
      return;
    }
    const delay = this.at - this.clock.now() + wait;
    if (delay > longestWait) {
      throw new DOMException(`the wait of ${delay} ms would exceed the timeout of ${longestWait} ms`, 'TimeoutError');
    }
    const actAt = this.at + wait;
    this.debt = bucketTake(this.limit, this.debt, units, this.at, wait, wait);
    try {
      await this.clock.sleep(delay, signal);
    } catch (reason) {
      this.advance();
      if (actAt > this.at) this.debt = bucketCancel(this.limit, this.debt, units, this.at, actAt, actAt);
      throw reason;
    }
  }

  /** Ignores a clock that steps back, unless by more than the time from empty to full: then the bucket becomes full. */
  private advance(): void {
    const now = this.clock.now();
    if (now < this.at && this.at - now <= this.limit.fillTime) return;
    this.debt = now < this.at ? 0 : debtAt(this.limit, this.debt, this.at, now);
    this.at = now;
  }
}

function capacityRule(value: unknown): string {
  return typeof value === 'number' && value > 0 ? 'a number with at most three decimals' : 'positive';
}
