import { describe, expect, it } from '@jest/globals';
import { Test } from '@nestjs/testing';
import {
  BucketService,
  MemoryStore,
  type RateLimitExceededException,
  RateLimitModule,
  RateLimitStoreError,
  type StoreRequest,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';

describe('Bucket', () => {
  it('rejects an aborted wait with its abort reason, even if the store is unavailable by then', async () => {
    let unavailable = false;
    class Failing extends MemoryStore {
      override run(request: StoreRequest) {
        if (unavailable) throw new RateLimitStoreError('unavailable');
        return super.run(request);
      }
    }
    const store = new Failing({ clock: new FakeClock() });
    store.close();
    const bucket = new BucketService(store).bucket({ capacity: 1, refill: 1 }, 'key');
    await bucket.consume();
    const abort = new AbortController();
    const waiting = bucket.consume(1, { signal: abort.signal });
    unavailable = true;
    abort.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    await expect(bucket.decide()).rejects.toThrow(RateLimitStoreError);
  });

  it('rejects all waiters when the application closes, and cancels their reservations', async () => {
    const store = new MemoryStore({ clock: new FakeClock() });
    const app = await Test.createTestingModule({ imports: [RateLimitModule.forRoot({ store })] }).compile();
    await app.init();
    const { signal } = new AbortController();
    const buckets = ['a', 'b'].map((key) =>
      app.get(BucketService).bucket({ capacity: 1, refill: 1, unit: 'hours' }, key),
    );
    await Promise.all(buckets.map((bucket) => bucket.consume()));
    const waiting = buckets.flatMap((bucket, i) => {
      const options = i === 0 ? {} : { signal };
      return [bucket.consume(1, options), bucket.watch(1, options)];
    });
    const ends = waiting.map((wait) => wait.catch((error: Error) => error.message));
    await new Promise(setImmediate);
    await app.close();
    expect(await Promise.all(ends)).toEqual(new Array(4).fill('The application is shutting down'));
    expect(await Promise.all(buckets.map((bucket) => bucket.available()))).toEqual([0, 0]);
  });

  it.each([
    ['one limit', { capacity: 5, refill: 1 }, ['bucket']],
    ['two limits', { limits: [{ capacity: 5, refill: 1 }, { maxRequest: 9 }] }, ['bucket/bucket', 'bucket/window']],
  ])('returns documented, serializable decisions for %s', async (_, policy, names) => {
    const store = new MemoryStore({ clock: new FakeClock() });
    store.close();
    const buckets = new BucketService(store);
    const bucket = buckets.bucket(policy, 'key');
    const decisions = [
      await bucket.decide(), // the first take creates the bucket, the second finds it
      await bucket.decide(),
      await bucket.estimate(),
      await bucket.consume(),
      await buckets.decideAll([{ policy, key: 'key' }]),
      await bucket.consume(4, { maxWait: 0 }).catch((error: RateLimitExceededException) => error.decision),
      await bucket.charge(),
    ];
    const [first] = decisions;
    const state = { limit: 5, remaining: 4, retryAfter: 0, resetAfter: 1000 };
    expect({ ...first }).toEqual({
      allowed: true,
      policy: names[0],
      ...state,
      delay: 0,
      source: 'store',
      limits: first.limits,
    });
    expect(first.limits.map(({ name }) => name)).toEqual(names);
    expect(first.limits[0]).toEqual({ name: names[0], ...state, moreAfter: 1000 });
    expect(decisions.map(({ remaining }) => remaining)).toEqual([4, 3, 2, 2, 1, 1, 0]);
    for (const decision of decisions) {
      expect(Object.keys(decision)).toEqual(Object.keys(first));
      expect(JSON.parse(JSON.stringify(decision))).toEqual(decision);
    }
  });

  it('keeps its name when replaced with limits that have another name elsewhere', async () => {
    const store = new MemoryStore({ clock: new FakeClock() });
    store.close();
    const buckets = new BucketService(store);
    const limit = { capacity: 5, refill: 1 };
    await buckets.bucket(limit, 'key').tryConsume(5);
    const sms = buckets.bucket({ name: 'sms', capacity: 9, refill: 1 }, 'key');
    const smaller = await sms.replacePolicy(limit, 'as-is');
    expect((await smaller.decide(2)).policy).toBe('sms');
    expect(await smaller.available()).toBe(3);
    expect(await buckets.bucket(limit, 'key').available()).toBe(0);
  });
});
