import { randomUUID } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { type LimitOptions, MemoryStore, type RateLimitModuleOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { closeBuckets, openBuckets } from '../support/buckets.js';
import { FarStore } from '../support/far-store.js';
import { redisUrl } from '../support/redis.js';

const WINDOW: LimitOptions = { name: 'window', maxRequest: 10, duration: 1, unit: 'minutes' };
const BUCKET: LimitOptions = { name: 'bucket', capacity: 10, refill: 0 };
const SLOTTED: LimitOptions = { name: 'slotted', maxRequest: 1000, duration: 128, unit: 'seconds' };
const BOTH: LimitOptions = {
  name: 'both',
  limits: [
    { maxRequest: 10, unit: 'minutes' },
    { capacity: 100, refill: 0 },
  ],
};

closeBuckets();

const optionsOf = (store: 'memory' | 'redis', clock: FakeClock): RateLimitModuleOptions =>
  store === 'memory'
    ? { store: new MemoryStore({ clock }) }
    : { store: { redis: redisUrl(), prefix: `${randomUUID()}:`, clock }, failure: { mode: 'closed', timeout: '10s' } };

describe.each(['memory', 'redis'] as const)('`put` with a decision, in %s', (store) => {
  const clock = new FakeClock();
  const open = async () => (await openBuckets(optionsOf(store, clock))).buckets;

  it.each([WINDOW, SLOTTED, BOTH])('refunds the admission of that decision: $name', async (options) => {
    const bucket = (await open()).bucket(options, 'key');
    const capacity = await bucket.available();
    const period = options === SLOTTED ? 128_000 : 60_000;
    await bucket.decide(4);
    await clock.advance(period / 4);
    const second = await bucket.decide(3);
    await clock.advance(period / 4);
    await bucket.decide(2);
    await bucket.put(3, { decision: second });
    expect(await bucket.available()).toBe(capacity - 6);
    await bucket.put(3, { decision: second });
    expect(await bucket.available()).toBe(capacity - 6);
    await clock.advance(period / 2 + (options === SLOTTED ? 1000 : 0));
    // The first has left the window; the third has not.
    expect(await bucket.available()).toBe(options === BOTH ? 8 : capacity - 2);
  });

  it('refunds a part of a decision', async () => {
    const bucket = (await open()).bucket(WINDOW, 'key');
    const decision = await bucket.consume(5);
    await bucket.put(2, { decision });
    expect(await bucket.available()).toBe(7);
    await bucket.put(1.5 + 1.5, { decision });
    expect(await bucket.available()).toBe(10);
  });

  it('refunds nothing of a decision that has left its window', async () => {
    const bucket = (await open()).bucket(WINDOW, 'key');
    const decision = await bucket.decide(5);
    await clock.advance(60_000);
    await bucket.decide(5);
    await bucket.put(5, { decision });
    expect(await bucket.available()).toBe(5);
  });

  it('refunds a queued decision at the instant at which it acted', async () => {
    const bucket = (await open()).bucket(WINDOW, 'key');
    await bucket.decide(10);
    const waiting = bucket.consume(4);
    while (clock.sleeping === 0) await new Promise(setImmediate);
    await clock.advance(60_000);
    const decision = await waiting;
    await bucket.decide(1);
    await bucket.put(4, { decision });
    expect(await bucket.available()).toBe(9);
  });

  it('refunds a charge', async () => {
    const bucket = (await open()).bucket(WINDOW, 'key');
    await bucket.decide(2);
    await clock.advance(1000);
    const decision = await bucket.charge(20);
    await bucket.put(15, { decision });
    await clock.advance(59_000);
    expect(await bucket.available()).toBe(5);
  });

  it('refunds each bucket of `decideAll`', async () => {
    const buckets = await open();
    const [window, bucket] = [buckets.bucket(WINDOW, 'a'), buckets.bucket(BUCKET, 'b')];
    await window.decide(3);
    await clock.advance(1000);
    const decision = await buckets.decideAll([
      { policy: WINDOW, key: 'a', n: 2 },
      { policy: BUCKET, key: 'b', n: 5 },
    ]);
    await window.put(2, { decision });
    await bucket.put(4, { decision });
    expect([await window.available(), await bucket.available()]).toEqual([7, 9]);
    await clock.advance(59_000);
    expect(await window.available()).toBe(10);
  });

  it('rejects decisions that took nothing from the bucket', async () => {
    const buckets = await open();
    const [window, bucket] = [buckets.bucket(WINDOW, 'a'), buckets.bucket(BUCKET, 'a')];
    const decision = await window.decide(10);
    const denied = '`decision` must be one that admitted, got a denied one, which took nothing';
    await expect(window.put(1, { decision: await window.decide() })).rejects.toThrow(new RangeError(denied));
    const other = '`decision` must be one of policy bucket, got one of policy window';
    await expect(bucket.put(1, { decision })).rejects.toThrow(new RangeError(other));
    const foreign = '`decision` must be what `decide`, `consume`, `charge` or `decideAll` returned for this key';
    await expect(buckets.bucket(WINDOW, 'b').put(1, { decision })).rejects.toThrow(new RangeError(foreign));
    await expect(window.put(1, { decision: { ...decision } })).rejects.toThrow(new RangeError(foreign));
    expect(await window.available()).toBe(0);
  });
});

describe('`put` with a decision, while the store is unavailable', () => {
  it.each([
    // The local bucket begins with what the store last answered.
    ['local', 'fallback', 7],
    ['open', 'open', 10],
  ] as const)('refunds in failure mode `%s` where the decision was made', async (mode, source, balance) => {
    const far = new FarStore();
    const { buckets } = await openBuckets({ store: far, failure: { mode, timeout: '5s' } });
    for (const options of [BUCKET, WINDOW]) {
      const bucket = buckets.bucket(options, 'key');
      await bucket.decide(3);
      far.unavailable = true;
      const decision = await bucket.decide(4);
      expect(decision.source).toBe(source);
      await bucket.put(4, { decision });
      expect(await bucket.available()).toBe(balance);
      await expect(bucket.put(1)).rejects.toThrow('simulated failure');
      far.unavailable = false;
      await bucket.put(4, { decision });
      expect(await bucket.available()).toBe(7);
    }
  });

  it('rejects a refund of a decision that the store made', async () => {
    const far = new FarStore();
    const { buckets } = await openBuckets({ store: far, failure: { timeout: '5s' } });
    const bucket = buckets.bucket(BUCKET, 'key');
    const decision = await bucket.decide(4);
    far.unavailable = true;
    await expect(bucket.put(4, { decision })).rejects.toMatchObject({
      name: 'RateLimitStoreError',
      outcome: 'unknown',
    });
    far.unavailable = false;
    await bucket.put(4, { decision });
    expect(await bucket.available()).toBe(10);
  });

  it('refunds leased tokens to the store', async () => {
    const far = new FarStore();
    const { buckets } = await openBuckets({ store: far, failure: { timeout: '5s' } });
    const bucket = buckets.bucket({ ...BUCKET, refill: 1, unit: 'days', lease: 5 }, 'key');
    const decision = await bucket.decide(2);
    expect(decision.source).toBe('cache');
    await bucket.put(2, { decision });
    expect(await bucket.available()).toBe(10);
  });
});
