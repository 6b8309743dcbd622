import { Inject, Injectable, type OnModuleDestroy, Optional } from '@nestjs/common';
import { amountOf } from '../core/amount.js';
import { toDecision } from '../core/answer.js';
import type { Decision } from '../core/decision.js';
import { type LimitOptions, type Policy, parsePolicy } from '../core/policy.js';
import { mergeTakes } from '../core/request.js';
import { boundKey } from '../keys/key.js';
import { BUCKET, tellDecision } from '../observe/messages.js';
import { RateLimitStore } from '../stores/rate-limit.store.js';
import { shutDown } from '../suspend/open-suspensions.js';
import { reject } from '../util/option-error.js';
import { Bucket } from './bucket.js';

/** The injection token of the module's named policies. */
export const POLICIES = Symbol.for('nest-rate-limit:policies');

/**
 * Manual checks, for whatever is not a request: a worker, a service, a command.
 *
 * ```ts
 * const bucket = this.buckets.bucket({ name: 'mail', capacity: 5, refill: 1 }, customer.id);
 * if (!(await bucket.tryConsume())) return 'later';
 * ```
 */
@Injectable()
export class BucketService implements OnModuleDestroy {
  private readonly defined = new WeakMap<LimitOptions, Policy>();
  private readonly closing = new AbortController();

  constructor(
    private readonly store: RateLimitStore,
    @Optional()
    @Inject(POLICIES)
    private readonly policies: ReadonlyMap<string, { readonly policy: Policy }> = new Map(),
  ) {}

  /**
   * The bucket of a policy (the name of one in `forRoot`, or its numbers) for a key. No I/O. Two callers that give the
   * same name and numbers share their buckets; numbers without a name are called `bucket`.
   */
  bucket(policy: string | LimitOptions, key: string): Bucket {
    const parse = (other: string | LimitOptions, name: string) => this.policy(other, name);
    return new Bucket(this.store, parse(policy, 'bucket'), checkKey(key), parse, this.closing.signal);
  }

  /** Takes from several buckets together, or from none; `n` is 1 where it is left out. */
  async decideAll(wanted: readonly { policy: string | LimitOptions; key: string; n?: number }[]): Promise<Decision> {
    if (wanted.length === 0) throw new RangeError('buckets must be at least one, got none');
    const takes = mergeTakes(
      wanted.map(({ policy, key, n = 1 }) => ({
        policy: this.policy(policy, 'bucket'),
        key: checkKey(key),
        amount: amountOf(n),
        maxWait: 0,
      })),
    );
    const answer = await this.store.run({ verb: 'take', takes });
    tellDecision(answer, takes, BUCKET);
    return toDecision(answer);
  }

  /** Ends all that wait for tokens, so that no worker keeps the process alive. */
  onModuleDestroy(): void {
    this.closing.abort(shutDown());
  }

  private policy(policy: string | LimitOptions, fallbackName: string): Policy {
    if (typeof policy === 'string') {
      const named = this.policies.get(policy);
      if (named) return named.policy;
      const known = [...this.policies.keys()].join(', ') || 'none';
      reject('policy', `one of those in \`policies\` (${known})`, policy);
    }
    if (typeof policy !== 'object' || policy === null) reject('policy', 'a name or limits', policy);
    const known = this.defined.get(policy);
    // The same numbers without a name may be used here under one name and there under another.
    if (known && known.name === (policy.name ?? fallbackName)) return known;
    const defined = parsePolicy(policy, fallbackName);
    this.defined.set(policy, defined);
    return defined;
  }
}

function checkKey(key: unknown): string {
  if (typeof key === 'string' && key !== '') return boundKey(key);
  return reject('key', 'a text of at least one character', key);
}
