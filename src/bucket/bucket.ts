import { amountOf } from '../core/amount.js';
import { toDecision } from '../core/answer.js';
import type { Decision, StoreAnswer } from '../core/decision.js';
import type { LimitOptions, Policy } from '../core/policy.js';
import { checkReplace, type ReplaceStrategy } from '../core/replace.js';
import type { StoreRequest, Take, Verb } from '../core/request.js';
import { refusal } from '../exceptions/rate-limit.exception.js';
import { BUCKET, tellDecision, tellWait } from '../observe/messages.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { type Duration, parseDuration } from '../util/duration.js';

/**
 * The bucket of one policy for one key: a handle, made without I/O. `n` is a number of tokens, default 1, with at most
 * three decimals; anything else rejects with a `RangeError` and takes nothing. A store that cannot answer rejects with
 * `RateLimitStoreError`.
 */
export class Bucket {
  constructor(
    private readonly store: RateLimitStore,
    private readonly policy: Policy,
    readonly key: string,
    private readonly parse: (policy: string | LimitOptions, fallbackName: string) => Policy,
    /** Ends all waiting. */
    private readonly closing?: AbortSignal,
  ) {}

  /** Takes n now, or nothing. */
  async tryConsume(n = 1): Promise<boolean> {
    return (await this.take(amountOf(n), 0)).allowed;
  }

  /** Takes n now, or nothing; tells the whole answer. */
  async decide(n = 1): Promise<Decision> {
    return toDecision(await this.take(amountOf(n), 0));
  }

  /** What `decide` would answer; takes nothing. */
  async estimate(n = 1): Promise<Decision> {
    return toDecision(await this.run('estimate', amountOf(n)));
  }

  /**
   * Takes n, waiting in line for it as long as `maxWait` (default: as long as it takes). Who would wait longer, or
   * asks for more than the bucket can hold, is rejected at once with `RateLimitExceededException` and nothing is taken.
   * When `signal` is aborted while waiting, what nobody behind relies on is given back, and the promise rejects with
   * the signal's reason; so it does when the application closes, with a `ServiceUnavailableException`.
   */
  async consume(
    n = 1,
    { maxWait = Infinity, signal }: { maxWait?: Duration; signal?: AbortSignal } = {},
  ): Promise<Decision> {
    const amount = amountOf(n);
    const patience = maxWait === 0 || maxWait === Infinity ? maxWait : parseDuration('maxWait', maxWait);
    signal?.throwIfAborted();
    const answer = await this.take(amount, patience);
    if (!answer.allowed) throw refusal(toDecision(answer));
    const tellEnd = answer.delay > 0 ? tellWait(answer, this.takes(amount), BUCKET, this.store.clock) : undefined;
    try {
      signal?.throwIfAborted();
      if (answer.delay > 0) await this.sleep(answer.delay, signal);
      tellEnd?.('passed');
    } catch (reason) {
      tellEnd?.(this.closing?.aborted ? 'closed' : 'left');
      const { actAt, source } = answer;
      const back = actAt ? this.run('cancel', amount, { actAt, source }) : this.run('put', amount, { source });
      // Who gives up is told his own reason, also where nothing can be given back because the store is away.
      await back.catch(() => {});
      throw reason;
    }
    return toDecision(answer);
  }

  /** Takes as many whole tokens as there are, at most `max`; returns how many. */
  async consumeUpTo(max: number): Promise<number> {
    return (await this.run('takeUpTo', amountOf(max))).taken;
  }

  /**
   * Takes n whatever the balance, which may go below zero; `retryAfter` tells until when it stays there. For costs
   * that are known only afterwards.
   */
  async charge(n = 1): Promise<Decision> {
    return toDecision(await this.run('charge', amountOf(n)));
  }

  /** Gives n back, never above full. */
  async put(n = 1): Promise<void> {
    await this.run('put', amountOf(n));
  }

  /**
   * Resolves when at least n are there, and takes nothing. Wakes by time, and at once when tokens are given back, by
   * whatever process. More than the capacity is a `RangeError`; `timeout` rejects with a `TimeoutError`, `signal` with
   * its reason, and the end of the application with a `ServiceUnavailableException`.
   */
  async watch(n = 1, { timeout, signal }: { timeout?: Duration; signal?: AbortSignal } = {}): Promise<void> {
    const amount = amountOf(n);
    const least = Math.min(...this.policy.limits.map((limit) => limit.size));
    if (n > least) throw new RangeError(`tokens must be at most the capacity of ${least}, got ${n}`);
    const ending = anyOf(signal, this.closing);
    const { clock } = this.store;
    const end = timeout === undefined ? Infinity : clock.now() + parseDuration('timeout', timeout);
    let wake = new AbortController();
    const stop = this.store.subscribe(this.policy, this.key, () => wake.abort());
    ending.signal.addEventListener('abort', () => wake.abort());
    try {
      for (;;) {
        ending.signal.throwIfAborted();
        wake = new AbortController();
        const { allowed, retryAfter } = await this.run('estimate', amount);
        if (allowed) return;
        const left = end - clock.now();
        if (left <= 0) throw new DOMException(`Fewer than ${n} tokens within the timeout`, 'TimeoutError');
        await clock.sleep(Math.min(retryAfter, left), wake.signal).catch(() => {});
      }
    } finally {
      stop();
      ending.release();
    }
  }

  /** Tokens now; exact, and below zero after `charge` or while others wait. */
  async available(): Promise<number> {
    return (await this.run('estimate', 0)).balance;
  }

  /** As good as new: full, and not blocked. */
  async reset(): Promise<void> {
    await this.run('reset', 0);
  }

  /** Refuses everything for so long, whatever the balance; `put` and `charge` still go through. */
  async block(duration: Duration): Promise<void> {
    await this.run('block', 0, { duration: parseDuration('duration', duration) });
  }

  /** Ends a block. */
  async unblock(): Promise<void> {
    await this.run('unblock', 0);
  }

  /**
   * Carries this key's balance over to the bucket of new numbers, in one step, and returns its handle; the old bucket
   * is gone. `'as-is'` keeps what is there (at most the new capacity), `'proportionally'` scales it, `'additive'` adds
   * what the capacity grows by, `'reset'` starts full. Example: 40 of 100 left, new capacity 200: 40, 80, 140, 200.
   * A window keeps its admissions (`'as-is'`) or forgets them (`'reset'`); the other two are a `RangeError` there.
   */
  async replacePolicy(policy: string | LimitOptions, strategy: ReplaceStrategy): Promise<Bucket> {
    const to = this.parse(policy, this.policy.name);
    checkReplace(to, strategy);
    if (to.id !== this.policy.id) await this.run('replace', 0, { to, strategy });
    else if (strategy === 'reset') await this.reset();
    return new Bucket(this.store, to, this.key, this.parse, this.closing);
  }

  private async take(amount: number, maxWait: number): Promise<StoreAnswer> {
    const takes = this.takes(amount, maxWait);
    const answer = await this.store.run({ verb: 'take', takes });
    tellDecision(answer, takes, BUCKET);
    return answer;
  }

  private async run(verb: Verb, amount: number, more: Partial<StoreRequest> = {}): Promise<StoreAnswer> {
    return this.store.run({ ...more, verb, takes: this.takes(amount) });
  }

  /** Sleeps until the time is over, or `signal` or the end of the application ends it with an error. */
  private async sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const ending = anyOf(signal, this.closing);
    try {
      await this.store.clock.sleep(ms, ending.signal);
    } finally {
      ending.release();
    }
  }

  private takes(amount: number, maxWait = 0): readonly Take[] {
    return [{ policy: this.policy, key: this.key, amount, maxWait }];
  }
}

/** A signal that is aborted with the first of `signals`, until it lets go of them: they may outlive it by far. */
function anyOf(...signals: (AbortSignal | undefined)[]): { readonly signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const abort = ({ target }: { readonly target: unknown }) => controller.abort((target as AbortSignal).reason);
  for (const signal of signals) {
    if (signal?.aborted) controller.abort(signal.reason);
    signal?.addEventListener('abort', abort);
  }
  const release = () => {
    for (const signal of signals) signal?.removeEventListener('abort', abort);
  };
  return { signal: controller.signal, release };
}
