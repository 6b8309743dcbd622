import type { Limit } from '../core/algorithms/algorithm.js';
import { bucketCancel, bucketWait, mostTokens, tokenBucketLimit } from '../core/algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN, amountOf, toAmount, tokenRule } from '../core/amount.js';
import { type Clock, systemClock } from '../util/clock.js';
import { type Duration, MAX_DURATION, parseDuration } from '../util/duration.js';
import { RepaidDebt, roundedUp } from './repaid-debt.js';

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
  private readonly debt: RepaidDebt;
  private at: number;

  /**
   * Throws a `RangeError` if an argument is invalid.
   *
   * @param capacity The most tokens that the bucket holds: positive, at most three decimals.
   * @param tokensPerSecond The refill rate: any positive number, exact to double precision. `1 / 86_400` is one token
   * per day, to the millisecond.
   */
  constructor(capacity: number, tokensPerSecond: number, { clock = systemClock }: { clock?: Clock } = {}) {
    this.limit = parseLimit(capacity, tokensPerSecond);
    this.clock = clock;
    this.at = clock.now();
    // So many tokens per second are as many amounts per ms.
    this.debt = new RepaidDebt(tokensPerSecond, this.at);
  }

  /** The number of tokens now; negative while callers wait. */
  get available(): number {
    return (this.limit.capacity - this.advance()) / AMOUNT_PER_TOKEN;
  }

  /** Takes `n` tokens (default 1) immediately, or none. Returns whether they were taken. */
  allow(n = 1): boolean {
    const amount = amountOf(n);
    if (bucketWait(this.limit, this.advance(), amount, this.at) > 0) return false;
    this.debt.add(amount);
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
    const amount = amountOf(n);
    if (amount > this.limit.capacity) {
      throw new RangeError(`tokens must be at most the capacity of ${this.limit.size}, got ${n}`);
    }
    const longestWait = timeout === 0 ? 0 : parseDuration('timeout', timeout);
    signal?.throwIfAborted();
    const wait = bucketWait(this.limit, this.advance(), amount, this.at);
    const delay = wait === 0 ? 0 : this.at - this.clock.now() + wait;
    if (delay > longestWait) {
      throw new DOMException(`the wait of ${delay} ms would exceed the timeout of ${longestWait} ms`, 'TimeoutError');
    }
    this.debt.add(amount);
    if (delay > 0) await this.sleep(delay, amount, this.at + wait, signal);
  }

  /** Sleeps until a reservation of `amount` acts, `delay` from now at `actAt`; cancels it if `signal` is aborted. */
  private async sleep(delay: number, amount: number, actAt: number, signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.clock.sleep(delay, signal);
    } catch (reason) {
      const debt = this.advance();
      if (actAt > this.at) this.debt.add(bucketCancel(this.limit, debt, amount, this.at, actAt, actAt) - debt);
      throw reason;
    }
  }

  /**
   * Moves on to the present, and returns the debt. Ignores a clock that steps back, unless by more than the time from
   * empty to full: then the bucket becomes full.
   */
  private advance(): number {
    const now = this.clock.now();
    const back = this.at - now;
    if (back > this.limit.fillTime) this.debt.clear(now);
    if (back <= 0 || back > this.limit.fillTime) this.at = now;
    return this.debt.at(this.at);
  }
}

function parseLimit(capacity: number, rate: number): Limit {
  const amount = toAmount(capacity);
  if (amount === undefined) throw new RangeError(`capacity must be ${capacityRule(capacity)}, got ${capacity}`);
  const largest = mostTokens(1);
  if (capacity > largest) throw new RangeError(`capacity must be at most ${largest}, got ${capacity}`);
  if (typeof rate !== 'number' || !(rate > 0)) throw new RangeError(`tokensPerSecond must be positive, got ${rate}`);
  if (rate === Infinity) throw new RangeError(`tokensPerSecond must be finite, got ${rate}`);
  const limit = tokenBucketLimit(capacity, amount, 1, 1, true);
  return { ...limit, refill: roundedUp(rate), fillTime: Math.ceil(amount / rate) };
}

function capacityRule(value: unknown): string {
  return typeof value === 'number' && value > 0 ? tokenRule(value, 'a number with at most three decimals') : 'positive';
}
