import type { BucketState, Limit } from '../core/algorithms/algorithm.js';
import { bucketWait, mostTokens, tokenBucketLimit } from '../core/algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN, amountOf, toAmount, tokenRule } from '../core/amount.js';
import { advance, cancel, newState, take } from '../core/bucket-state.js';
import { type Policy, policyOf } from '../core/policy.js';
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
  private readonly policy: Policy;
  /** The queue, and the debt as of the last call of `advance`. */
  private readonly state: BucketState;
  private readonly debt: RepaidDebt;

  /**
   * Throws a `RangeError` if an argument is invalid.
   *
   * @param capacity The most tokens that the bucket holds: positive, at most three decimals.
   * @param tokensPerSecond The refill rate: any positive number, exact to double precision. `1 / 86_400` is one token
   * per day, to the millisecond.
   */
  constructor(capacity: number, tokensPerSecond: number, { clock = systemClock }: { clock?: Clock } = {}) {
    this.limit = parseLimit(capacity, tokensPerSecond);
    this.policy = policyOf(this.limit);
    this.clock = clock;
    this.state = newState(this.policy);
    this.state.at = clock.now();
    // So many tokens per second are as many amounts per ms.
    this.debt = new RepaidDebt(tokensPerSecond, this.state.at);
  }

  /** The number of tokens now; negative while callers wait. */
  get available(): number {
    this.advance();
    const { debts, queueEnd } = this.state;
    const balance = (this.limit.capacity - debts[0]) / AMOUNT_PER_TOKEN;
    return queueEnd > 0 ? Math.min(balance, 0) : balance;
  }

  /** Takes `n` tokens (default 1) immediately, or none. Returns whether they were taken. */
  allow(n = 1): boolean {
    const amount = amountOf(n);
    this.advance();
    if (this.waitFor(amount) > 0) return false;
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
    this.advance();
    const { state } = this;
    const wait = this.waitFor(amount);
    const delay = wait === 0 ? 0 : state.at - this.clock.now() + wait;
    if (delay > longestWait) {
      throw new DOMException(`the wait of ${delay} ms would exceed the timeout of ${longestWait} ms`, 'TimeoutError');
    }
    if (wait === 0) this.debt.add(amount);
    else await this.enqueue(amount, wait, delay, signal);
  }

  /** Reserves `amount`, which acts in `wait` ms of the bucket's clock; cancels it if `signal` is aborted before. */
  private async enqueue(amount: number, wait: number, delay: number, signal: AbortSignal | undefined): Promise<void> {
    const { policy, state } = this;
    const actAt = state.at + wait;
    this.change(() => take(policy, state, { amount }, wait));
    try {
      await this.clock.sleep(delay, signal);
    } catch (reason) {
      this.advance();
      this.change(() => cancel(policy, state, { amount }, actAt));
      throw reason;
    }
  }

  /** Changes the queue, and the debt with it. */
  private change(change: () => void): void {
    const [before] = this.state.debts;
    change();
    this.debt.add(this.state.debts[0] - before);
  }

  /** Ignores a clock that steps back, unless by more than the time from empty to full: then the bucket becomes full. */
  private advance(): void {
    const { limit, policy, state } = this;
    const now = this.clock.now();
    if (state.at - now > limit.fillTime) this.debt.clear(now);
    advance(policy, state, now);
    // More exact than the state, whose rate is rounded up.
    state.debts[0] = this.debt.at(state.at);
  }

  /** Milliseconds until `amount` can be taken, behind all waiters. */
  private waitFor(amount: number): number {
    const { at, debts, queueEnd } = this.state;
    return Math.max(bucketWait(this.limit, debts[0], amount, at), queueEnd - at, 0);
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
