import { createHook } from 'node:async_hooks';
import { describe, expect, it } from '@jest/globals';
import { Test } from '@nestjs/testing';
import {
  BucketService,
  MemoryStore,
  type RateLimitExceededException,
  RateLimitModule,
  RateLimitStoreError,
  type StoreAnswer,
  type StoreRequest,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';

const VERBS = ['tryConsume', 'decide', 'estimate', 'consume', 'consumeUpTo', 'charge', 'put'] as const;

/** Answers as the base class does, or fails. */
class Failing extends MemoryStore {
  unavailable = true;

  override run(request: StoreRequest) {
    if (this.unavailable) throw new RateLimitStoreError('unavailable');
    return super.run(request);
  }
}

/** Counts the promises that are created while `run` is executed. */
function promisesOf(run: () => void): number {
  let count = 0;
  const hook = createHook({
    init(_id, type) {
      if (type === 'PROMISE') count++;
    },
  }).enable();
  run();
  hook.disable();
  return count;
}

describe('Bucket, on a store that answers synchronously', () => {
  const store = new Failing({ clock: new FakeClock() });
  store.close();
  const buckets = new BucketService(store);

  it.each(VERBS)('rejects, and does not throw, for an invalid number of tokens: %s', async (verb) => {
    const result = buckets.bucket({ capacity: 1, refill: 1 }, 'key')[verb](-1);
    await expect(result).rejects.toThrow(RangeError);
  });

  it.each(VERBS)('rejects, and does not throw, if the store throws: %s', async (verb) => {
    const result = buckets.bucket({ capacity: 1, refill: 1 }, 'key')[verb](1);
    await expect(result).rejects.toThrow(RateLimitStoreError);
  });

  it.each(['tryConsume', 'decide', 'consume', 'put', 'charge', 'consumeUpTo'] as const)(
    'rejects tokens of a policy with slots: %s',
    async (verb) => {
      const policy = { name: 'pdf', limits: [{ concurrency: 1 }, { capacity: 1, refill: 1 }] };
      const message = 'policy pdf has a concurrency limit, whose slots are held: use acquire() or hold()';
      await expect(buckets.bucket(policy, 'key')[verb](1)).rejects.toThrow(new RangeError(message));
      const all = buckets.decideAll([{ policy, key: 'key' }]);
      await expect(all).rejects.toThrow(new RangeError(message));
    },
  );

  it.each(['tryConsume', 'decide', 'consume'] as const)('creates one promise per call: %s', async (verb) => {
    store.unavailable = false;
    const bucket = buckets.bucket({ capacity: 10, refill: 1 }, verb);
    let result: Promise<unknown> | undefined;
    expect(promisesOf(() => Promise.resolve(1))).toBe(1);
    expect(
      promisesOf(() => {
        result = bucket[verb]();
      }),
    ).toBe(1);
    expect(await result).toBeTruthy();
    expect(await bucket.available()).toBe(9);
    store.unavailable = true;
  });
});

describe('Bucket, on a store that answers with a thenable', () => {
  class Thenable extends MemoryStore {
    override run(request: StoreRequest) {
      const answer = super.run(request);
      // Like a promise of an old library: its `then` returns nothing.
      const then = (resolve: (answer: StoreAnswer) => void) => void queueMicrotask(() => resolve(answer));
      return { then } as unknown as StoreAnswer;
    }
  }

  it('returns the results of its answers', async () => {
    const store = new Thenable({ clock: new FakeClock() });
    store.close();
    const bucket = new BucketService(store).bucket({ capacity: 2, refill: 1 }, 'key');
    expect(await bucket.decide()).toMatchObject({ allowed: true, remaining: 1 });
    expect(await bucket.tryConsume()).toBe(true);
    expect(await bucket.tryConsume()).toBe(false);
    await expect(bucket.consume(1, { maxWait: 0 })).rejects.toThrow('Too Many Requests');
  });
});

describe('the decision', () => {
  const limit = { capacity: 5, refill: 1 };
  const window = { maxRequest: 5, unit: 'seconds' } as const;
  it.each([
    ['a bucket', limit],
    ['a window', window],
    ['several limits', { limits: [limit, window] }],
  ])('is plain data, the same whether its bucket is new or not: %s', async (_title, options) => {
    const store = new MemoryStore({ clock: new FakeClock() });
    store.close();
    const bucket = new BucketService(store).bucket({ name: 'plain', ...options }, 'key');
    for (const n of [1, 3, 4]) {
      const estimate = await bucket.estimate(n);
      const decision = await bucket.decide(n);
      expect(decision).toStrictEqual(estimate);
      expect(Object.keys(decision)).toEqual(Object.keys(estimate));
      expect(JSON.parse(JSON.stringify(decision))).toStrictEqual(estimate);
    }
  });
});

describe('Bucket', () => {
  it('rejects an aborted wait with its abort reason, even if the store is unavailable by then', async () => {
    const store = new Failing({ clock: new FakeClock() });
    store.unavailable = false;
    store.close();
    const bucket = new BucketService(store).bucket({ capacity: 1, refill: 1 }, 'key');
    await bucket.consume();
    const abort = new AbortController();
    const waiting = bucket.consume(1, { signal: abort.signal });
    store.unavailable = true;
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
