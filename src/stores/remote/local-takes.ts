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
 * What was taken locally in an outage. While this process admitted requests, the bucket in the store was refilled, too:
 * the same refill would be used twice. So when the store is back, as much is taken from it, as far as it is there.
 *
 * Example: a bucket of 20 that gains 10 per second, empty at the beginning of an outage of two seconds. This process
 * admits 20 requests meanwhile, and then takes the 20 tokens from the store that have come back there.
 */
export class LocalTakes {
  private takes = new BoundedMap<string, Take>(MAX_BUCKETS);
  private isSettling = false;

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

  /** Takes from the store what was taken locally. What fails is tried again at the next call. */
  async settle(run: (request: StoreRequest) => Promise<StoreAnswer>): Promise<void> {
    if (this.isSettling) return;
    this.isSettling = true;
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
    this.isSettling = false;
  }

  private change({ policy, key, mark }: Take, amount: number): void {
    // Without refill nothing is used twice, and a settlement knows only later what the request has cost.
    if (policy.fillTime === Infinity || mark !== undefined) return;
    const name = bucketName({ policy, key });
    const sum = (this.takes.get(name)?.amount ?? 0) + amount;
    this.takes.delete(name);
    if (sum <= 0) return;
    const take = { policy, key: detachedString(key), amount: Math.min(sum, Number.MAX_SAFE_INTEGER), maxWait: 0 };
    this.takes.set(detachedString(name), take);
  }
}
