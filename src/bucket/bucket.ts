import type { Slot } from '../concurrency/slot.js';
import type { ReplaceStrategy } from '../core/algorithms/algorithm.js';
import { AMOUNT_PER_TOKEN, amountOf, chargedAmount, refundedAmount } from '../core/amount.js';
import { toDecision } from '../core/answer.js';
import type { Decision } from '../core/decision.js';
import type { LimitOptions, Policy } from '../core/policy.js';
import { checkReplace } from '../core/replace.js';
import type { FailureMode, StoreRequest, Take, Verb } from '../core/request.js';
import { checkHasSlots, checkSlotless } from '../core/slots.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { type Duration, parseDuration } from '../util/duration.js';
import { type AcquireOptions, acquireSlot, tryAcquireSlot } from './acquire.js';
import { consume, sleepUnlessAborted, type WaitOptions } from './consume.js';
import { refundableDecision, refundOf } from './refund.js';
import { takeNow } from './take-now.js';
import { watchTakes } from './watch.js';

/** A policy of manual checks. One of `forRoot` may have a failure mode of its own. */
export interface BucketPolicy {
  readonly policy: Policy;
  readonly onStoreError?: FailureMode;
}

/**
 * A handle on the bucket of one policy and key. Creating it does no I/O.
 *
 * `n` is a positive number of tokens: default 1, at most three decimals (`charge` and `put` round). For any other value a
 * method rejects with a `RangeError` and takes nothing. All methods reject with `RateLimitStoreError` if the store cannot
 * answer and the failure mode does not answer for it. No failure mode answers `charge`, `put`, `reset`, `block`,
 * `unblock` and `replacePolicy`; the error's `outcome` is whether they may have been applied.
 *
 * ```ts
 * const bucket = buckets.bucket({ name: 'mail', capacity: 5, refill: 1 }, customer.id);
 * if (await bucket.tryConsume()) await send(mail);
 * ```
 */
export class Bucket {
  /** @internal */
  readonly policy: Policy;
  private readonly onStoreError: FailureMode | undefined;

  constructor(
    /** @internal */
    readonly store: RateLimitStore,
    { policy, onStoreError }: BucketPolicy,
    readonly key: string,
    private readonly parse: (policy: string | LimitOptions, fallbackName: string) => BucketPolicy,
    /** Aborts all waits when the application closes. */
    private readonly closing?: AbortSignal,
  ) {
    this.policy = policy;
    this.onStoreError = onStoreError;
  }

  /** Takes `n` tokens immediately, or none. Returns whether they were taken. */
  tryConsume(n = 1): Promise<boolean> {
    return takeNow(
      this.store,
      () => this.tokenTakes(amountOf(n)),
      ({ allowed }) => allowed,
    );
  }

  /** Takes `n` tokens immediately, or none, and returns the full decision. */
  decide(n = 1): Promise<Decision> {
    return takeNow(this.store, () => this.tokenTakes(amountOf(n)), refundableDecision);
  }

  /** Returns the decision that `decide` would make, without taking tokens. */
  async estimate(n = 1): Promise<Decision> {
    return toDecision(await this.run('estimate', amountOf(n)));
  }

  /**
   * Takes `n` tokens, waiting in the queue (FIFO) until they are available.
   *
   * Rejects immediately with `RateLimitExceededException`, and takes nothing, if the wait would exceed `maxWait`
   * (default: no limit), or if `n` exceeds the capacity.
   *
   * If `signal` is aborted during the wait, the promise rejects with the signal's reason, and the reservation is
   * canceled. Later waiters keep their positions, and new ones queue behind the last of them. If the application closes
   * during the wait, the promise rejects with a `ServiceUnavailableException` in the same way.
   */
  consume(n = 1, options: WaitOptions = {}): Promise<Decision> {
    return consume(this.store, (maxWait) => this.tokenTakes(amountOf(n), maxWait), options, this.closing);
  }

  /** Takes as many whole tokens as are available, at most `max`. Returns the number taken. */
  async consumeUpTo(max: number): Promise<number> {
    return (await this.store.run({ verb: 'takeUpTo', takes: this.tokenTakes(amountOf(max)) })).taken;
  }

  /**
   * Takes `n` tokens whatever the balance, which may become negative. Use it for costs that are known only afterwards.
   * `retryAfter` of the decision is the time until the balance is no longer negative, in milliseconds. `n` may be 0,
   * which takes nothing; further decimals are rounded up.
   *
   * If it rejects with the outcome `'unknown'`, the module repeats it until the store has applied it.
   */
  async charge(n = 1): Promise<Decision> {
    const takes = this.tokenTakes(chargedAmount(n));
    return refundableDecision(await this.store.run({ verb: 'charge', takes }), takes);
  }

  /**
   * Refunds `n` tokens, never above the capacity. A sliding window drops its oldest admissions. `n` may be 0, which does
   * nothing; further decimals are rounded down.
   *
   * With `decision`, the result of `decide`, `consume`, `charge` or `BucketService.decideAll`, it refunds the tokens
   * where they were taken: in the store, or in this process while the store was unavailable. A sliding window then drops
   * that admission, as far as it still counts. Rejects with a `RangeError` if `decision` took nothing from this bucket.
   *
   * ```ts
   * const decision = await bucket.consume(10);
   * const used = await work();
   * if (used < 10) await bucket.put(10 - used, { decision });
   * ```
   */
  async put(n = 1, { decision }: { decision?: Decision } = {}): Promise<void> {
    const amount = refundedAmount(n);
    const refund = decision && refundOf(decision, this.policy, this.key);
    const takes = this.tokenTakes(amount);
    if (amount > 0) await this.store.run({ verb: 'put', takes, source: refund?.source, actAt: refund?.actAt });
  }

  /**
   * Resolves when at least `n` tokens are available, without taking them. It checks again when tokens are due,
   * immediately when any process refunds some, and every five seconds in case that message is lost.
   *
   * Rejects with a `RangeError` if `n` exceeds the capacity, with a `TimeoutError` after `timeout` (default: none),
   * with the signal's reason if `signal` is aborted, and with a `ServiceUnavailableException` if the application
   * closes.
   */
  async watch(n = 1, { timeout, signal }: { timeout?: Duration; signal?: AbortSignal } = {}): Promise<void> {
    const amount = amountOf(n);
    const capacity = Math.min(...this.policy.limits.map((limit) => limit.size));
    if (n > capacity) throw new RangeError(`tokens must be at most the capacity of ${capacity}, got ${n}`);
    await watchTakes(this.store, this.takes(amount), n, { timeout, signal, closing: this.closing });
  }

  /** Returns the exact number of tokens now; negative after `charge`, or while requests are queued. */
  async available(): Promise<number> {
    return (await this.run('estimate', 0)).balance;
  }

  /** Makes the bucket full and unblocked. */
  async reset(): Promise<void> {
    await this.run('reset', 0);
  }

  /**
   * Denies every take for `duration`, whatever the balance; a longer block in force stays. `put` and `charge` still work.
   * If it rejects with the outcome `'unknown'`, the module repeats it for the remaining time.
   */
  async block(duration: Duration): Promise<void> {
    await this.run('block', 0, { duration: parseDuration('duration', duration) });
  }

  /** Ends a block. Has no effect on a bucket that is not blocked. */
  async unblock(): Promise<void> {
    await this.run('unblock', 0);
  }

  /**
   * Moves this key's balance to a bucket with other limits, atomically, and returns a handle on it. The old bucket is
   * deleted. With 40 of 100 tokens left and a new capacity of 200, the new balance is:
   *
   * - `'as-is'`: the old balance, at most the new capacity (40).
   * - `'proportionally'`: the same share of the capacity (80).
   * - `'additive'`: the old balance plus the increase of the capacity (140).
   * - `'reset'`: full (200).
   *
   * A sliding window supports `'as-is'`, which keeps its admissions, and `'reset'`, which drops them. Rejects with a
   * `RangeError` for the other two.
   */
  async replacePolicy(policy: string | LimitOptions, strategy: ReplaceStrategy): Promise<Bucket> {
    const replacement = this.parse(policy, this.policy.name);
    const to = replacement.policy;
    checkReplace(to, strategy);
    if (to.id !== this.policy.id) await this.run('replace', 0, { to, strategy });
    else if (strategy === 'reset') await this.reset();
    return new Bucket(this.store, replacement, this.key, this.parse, this.closing);
  }

  /**
   * Takes a slot of the policy's concurrency limit, waiting in the queue (FIFO) until one is free, and tokens from its
   * other limits. Release the slot when the work has ended.
   *
   * Rejects with `RateLimitExceededException` after `maxWait` (default: no limit), or immediately if another limit denies
   * the request. If `signal` is aborted during the wait, rejects with its reason; if the application closes, with a
   * `ServiceUnavailableException`. Rejects with a `RangeError` if the policy has no concurrency limit.
   *
   * ```ts
   * await using slot = await buckets.bucket({ name: 'pdf', concurrency: 8 }, 'all').acquire({ maxWait: '30s' });
   * ```
   */
  acquire(options: AcquireOptions = {}): Promise<Slot> {
    return acquireSlot(this.store, (maxWait) => this.slotTakes(maxWait), options, this.closing);
  }

  /** Takes a slot immediately, or returns `undefined`. Rejects as `acquire` does, but never for a denial. */
  tryAcquire({ maxHold }: Pick<AcquireOptions, 'maxHold'> = {}): Promise<Slot | undefined> {
    return tryAcquireSlot(this.store, () => this.slotTakes(0), maxHold);
  }

  /**
   * Calls `work` with a slot held, and releases it when the promise that `work` returns has settled. Returns its result.
   * The signal that it receives is aborted when the slot is lost: other processes may hold it by now. Rejects as `acquire`
   * does.
   *
   * ```ts
   * const pdf = await buckets.bucket({ name: 'pdf', concurrency: 8 }, 'all').hold((signal) => render(page, signal));
   * ```
   */
  async hold<T>(work: (signal: AbortSignal) => T | Promise<T>, options: AcquireOptions = {}): Promise<T> {
    const slot = await this.acquire(options);
    try {
      return await work(slot.signal);
    } finally {
      // The result does not wait for the store.
      void slot.release();
    }
  }

  /** @internal Sleeps for `ms`; rejects if `signal` is aborted or the application closes. */
  sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
    return sleepUnlessAborted(this.store, ms, signal, this.closing);
  }

  private async run(verb: Verb, amount: number, { duration, to, strategy }: Partial<StoreRequest> = {}) {
    return this.store.run({ verb, takes: this.takes(amount), duration, to, strategy });
  }

  private slotTakes(maxWait: number): readonly Take[] {
    checkHasSlots(this.policy);
    return this.takes(AMOUNT_PER_TOKEN, maxWait);
  }

  private tokenTakes(amount: number, maxWait = 0): readonly Take[] {
    checkSlotless(this.policy);
    return this.takes(amount, maxWait);
  }

  /** @internal */
  takes(amount: number, maxWait = 0): readonly Take[] {
    const { policy, key, onStoreError } = this;
    return [{ policy, key, amount, maxWait, onStoreError }];
  }
}
