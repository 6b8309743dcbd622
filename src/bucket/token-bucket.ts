import { bucketCancel, bucketTake, bucketWait, debtAt } from '../core/algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN, amountOf, toAmount } from '../core/amount.js';
import { type Limit, mostTokens, tokenBucket } from '../core/limit.js';
import { type Clock, systemClock } from '../util/clock.js';
import { type Duration, LONGEST, parseDuration } from '../util/duration.js';

/** Rates are counted in millionths of a token per second. */
const RATE_STEPS = 1e6;

/**
 * A token bucket in this process, for your own code: no Nest, no store, no key. Holds `capacity` tokens, gains
 * `tokensPerSecond`, starts full. Both are above zero; tokens have at most three decimals, and the rate is rounded to
 * a millionth.
 *
 * ```ts
 * const bucket = new TokenBucket(20, 10);
 * if (bucket.allow()) send();
 * await bucket.wait(5); // in line, first come first served
 * ```
 */
export class TokenBucket {
  private readonly limit: Limit;
  private readonly clock: Clock;
  private debt = 0;
  private at: number;

  constructor(capacity: number, tokensPerSecond: number, { clock = systemClock }: { clock?: Clock } = {}) {
    const amount = toAmount(capacity);
    if (amount === undefined) throw new RangeError(`capacity must be ${ruleOf(capacity)}, got ${capacity}`);
    const rate = Math.round(tokensPerSecond * RATE_STEPS);
    if (!(tokensPerSecond > 0) || !(rate > 0)) {
      throw new RangeError(`tokensPerSecond must be positive, got ${tokensPerSecond}`);
    }
    if (!Number.isSafeInteger(rate)) {
      throw new RangeError(`tokensPerSecond must be at most 9e9, got ${tokensPerSecond}`);
    }
    // rate / RATE_STEPS tokens per second are as many amounts per ms.
    this.limit = tokenBucket(capacity, amount, rate, RATE_STEPS, true);
    const most = mostTokens(this.limit.weight);
    if (capacity > most) throw new RangeError(`capacity must be at most ${most} at this rate, got ${capacity}`);
    this.clock = clock;
    this.at = clock.now();
  }

  /** Tokens now; below zero while others wait. */
  get available(): number {
    this.advance();
    return (this.limit.capacity - this.debt) / (this.limit.weight * AMOUNT_PER_TOKEN);
  }

  /** Takes n (default 1) now, or nothing. */
  allow(n = 1): boolean {
    const units = amountOf(n) * this.limit.weight;
    this.advance();
    if (bucketWait(this.limit, this.debt, units, this.at) > 0) return false;
    this.debt += units;
    return true;
  }

  /** The same as `allow`. */
  tryConsume(n = 1): boolean {
    return this.allow(n);
  }

  /**
   * Takes n, waiting in line for it. Rejects at once with a `RangeError` for more than the capacity, and with a
   * `TimeoutError` when it would take longer than `timeout`; nothing is taken then. When `signal` is aborted, what
   * nobody behind relies on is given back.
   */
  async wait(n = 1, { timeout = LONGEST, signal }: { timeout?: Duration; signal?: AbortSignal } = {}): Promise<void> {
    const units = amountOf(n) * this.limit.weight;
    if (units > this.limit.capacity) {
      throw new RangeError(`tokens must be at most the capacity of ${this.limit.size}, got ${n}`);
    }
    const patience = timeout === 0 ? 0 : parseDuration('timeout', timeout);
    signal?.throwIfAborted();
    this.advance();
    const own = bucketWait(this.limit, this.debt, units, this.at);
    if (own === 0) {
      this.debt += units;
      return;
    }
    const delay = this.at - this.clock.now() + own;
    if (delay > patience) throw new DOMException(`${n} tokens take ${delay} ms, more than the timeout`, 'TimeoutError');
    const actAt = this.at + own;
    this.debt = bucketTake(this.limit, this.debt, units, this.at, own, own);
    try {
      await this.clock.sleep(delay, signal);
    } catch (reason) {
      this.advance();
      if (actAt > this.at) this.debt = bucketCancel(this.limit, this.debt, units, this.at, actAt, actAt);
      throw reason;
    }
  }

  /** Time never runs backwards here, but a step back is waited for no longer than it takes to fill. */
  private advance(): void {
    const now = this.clock.now();
    if (now < this.at && this.at - now <= this.limit.fillTime) return;
    this.debt = now < this.at ? 0 : debtAt(this.limit, this.debt, this.at, now);
    this.at = now;
  }
}

function ruleOf(value: unknown): string {
  return typeof value === 'number' && value > 0 ? 'a number of at most three decimals' : 'positive';
}
