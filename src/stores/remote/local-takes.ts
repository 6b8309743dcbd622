import type { StoreAnswer } from '../../core/decision.js';
import { bucketName, type StoreRequest, type Take } from '../../core/request.js';
import { RateLimitStoreError } from '../../exceptions/rate-limit-store.error.js';
import { BoundedMap } from '../../util/bounded-map.js';
import { detachedString } from '../../util/detached-string.js';

/** The most buckets whose local takes are kept; beyond, the oldest one is forgotten. */
const MAX_BUCKETS = 10_000;
/** The most requests sent at once. */
const BATCH = 32;

/**
 * The tokens that this process took locally in an outage. The bucket in the store was refilled during that time, so the
 * same refill would be spent twice. When the store has recovered, the same number of tokens is taken from it, or all
 * that it has if those are fewer.
 *
 * Example: a bucket of 20 tokens that gains 10 per second is empty when an outage of two seconds begins. This process
 * admits 20 requests, and then takes the 20 tokens that the bucket in the store has gained.
 */
export class LocalTakes {
  private takes = new BoundedMap<string, Take>(MAX_BUCKETS);

  get size(): number {
    return this.takes.size;
  }

  /** Adds the takes of a request that was admitted locally, or subtracts a refund. */
  add({ verb, takes }: StoreRequest): void {
    for (const take of takes) {
      if (verb === 'take') this.change(take, take.amount);
      else if (verb === 'put' || verb === 'cancel') this.change(take, -take.amount);
    }
  }

  /** Forgets the takes from these buckets, which have been reset since. */
  forget(takes: readonly Take[]): void {
    for (const take of takes) this.takes.delete(bucketName(take));
  }

  /** Takes the tokens from the store, in batches that leave room for requests. Repeats those that fail at the next call. */
  async settle(run: (request: StoreRequest) => Promise<StoreAnswer>): Promise<void> {
    const takes = [...this.takes.values()];
    this.takes.clear();
    for (let i = 0; i < takes.length; i += BATCH) {
      const taken = takes.slice(i, i + BATCH).map((take) =>
        run({ verb: 'takeUpTo', takes: [take] }).catch((error) => {
          if (error instanceof RateLimitStoreError && error.scope !== 'bucket') this.change(take, take.amount);
        }),
      );
      await Promise.all(taken);
    }
  }

  private change({ policy, key, mark, amounts }: Take, amount: number): void {
    // Without a refill nothing is spent twice, the cost of a take with a mark is known only when it is settled, and
    // `takeUpTo` takes the same amount from all limits.
    if (policy.fillTime === Infinity || mark !== undefined || amounts !== undefined) return;
    const name = bucketName({ policy, key });
    const sum = (this.takes.get(name)?.amount ?? 0) + amount;
    this.takes.delete(name);
    if (sum <= 0) return;
    const take = { policy, key: detachedString(key), amount: Math.min(sum, Number.MAX_SAFE_INTEGER), maxWait: 0 };
    this.takes.set(detachedString(name), take);
  }
}
