import { Inject, Injectable, type OnModuleDestroy, Optional } from '@nestjs/common';
import { amountOf } from '../core/amount.js';
import type { Decision } from '../core/decision.js';
import { type LimitOptions, parsePolicy } from '../core/policy.js';
import { mergeTakes } from '../core/request.js';
import { checkSlotless } from '../core/slots.js';
import { BUCKET, publishDecision } from '../observe/messages.js';
import { RateLimitStore } from '../stores/rate-limit.store.js';
import { shutdownError } from '../suspend/open-suspensions.js';
import { boundKey, toKey } from '../util/bounded-key.js';
import { invalidOption, unknownPolicy } from '../util/option-error.js';
import { Bucket, type BucketPolicy } from './bucket.js';
import { refundableDecision } from './refund.js';

/** The injection token of the module's named policies. */
export const POLICIES = Symbol.for('nest-rate-limit:policies');

/**
 * Limits code that is not a request handler, such as a worker, a service or a command.
 *
 * ```ts
 * const bucket = this.buckets.bucket({ name: 'mail', capacity: 5, refill: 1 }, customer.id);
 * if (!(await bucket.tryConsume())) return 'later';
 * ```
 */
@Injectable()
export class BucketService implements OnModuleDestroy {
  private readonly parsed = new WeakMap<LimitOptions, BucketPolicy>();
  private readonly closing = new AbortController();
  /** Made once, as a handle may be made for each request. */
  private readonly parse = (policy: string | LimitOptions, name: string) => this.policy(policy, name);

  constructor(
    private readonly store: RateLimitStore,
    @Optional()
    @Inject(POLICIES)
    private readonly policies: ReadonlyMap<string, BucketPolicy> = new Map(),
  ) {}

  /**
   * Returns the bucket of a policy and key, without I/O. `policy` is the name of a policy in `forRoot`, whose
   * `onStoreError` applies, or limit options.
   *
   * Callers with the same name, limits and key share one bucket. Limit options without a name are named `bucket`.
   * Throws `RateLimitOptionError` if the policy or the key is invalid.
   */
  bucket(policy: string | LimitOptions, key: string | number | bigint): Bucket {
    return new Bucket(this.store, this.policy(policy, 'bucket'), checkKey(key), this.parse, this.closing.signal);
  }

  /**
   * Takes tokens from all given buckets atomically, or from none, and returns the decision. `n` is the number of
   * tokens: positive, at most three decimals, default 1. Rejects with a `RangeError` if the list is empty or `n` invalid.
   */
  async decideAll(
    requests: readonly { policy: string | LimitOptions; key: string | number | bigint; n?: number }[],
  ): Promise<Decision> {
    if (requests.length === 0) throw new RangeError('decideAll() requires at least one bucket, got none');
    const takes = mergeTakes(
      requests.map(({ policy: given, key, n = 1 }) => {
        const { policy, onStoreError } = this.policy(given, 'bucket');
        checkSlotless(policy);
        return { policy, key: checkKey(key), amount: amountOf(n), maxWait: 0, onStoreError };
      }),
    );
    const answer = await this.store.run({ verb: 'take', takes });
    publishDecision(answer, takes, BUCKET);
    return refundableDecision(answer, takes);
  }

  /** Rejects all waits for tokens, so that no worker keeps the process alive. */
  onModuleDestroy(): void {
    this.closing.abort(shutdownError());
  }

  private policy(policy: string | LimitOptions, fallbackName: string): BucketPolicy {
    if (typeof policy === 'string') {
      return this.policies.get(policy) ?? unknownPolicy(policy, this.policies.keys());
    }
    if (typeof policy !== 'object' || policy === null)
      invalidOption('policy', 'a policy name or limit options', policy);
    const cached = this.parsed.get(policy);
    // Options without a name may be used with different fallback names.
    if (cached && cached.policy.name === (policy.name ?? fallbackName)) return cached;
    const parsed = { policy: parsePolicy(policy, fallbackName) };
    this.parsed.set(policy, parsed);
    return parsed;
  }
}

function checkKey(key: unknown): string {
  return boundKey(toKey(key) ?? invalidOption('key', 'a non-empty string or a finite number', key));
}
