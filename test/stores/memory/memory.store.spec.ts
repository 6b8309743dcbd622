import { describe, expect, it } from '@jest/globals';
import { type Bucket, BucketService, MemoryStore } from 'nest-rate-limit';
import { describeStoreContract, FakeClock } from 'nest-rate-limit/testing';
import { parsePolicy } from '../../../src/core/policy.js';
import type { Verb } from '../../../src/core/request.js';

describeStoreContract('MemoryStore', (clock) => new MemoryStore({ clock }));

function make(maxBuckets: number) {
  const clock = new FakeClock();
  const store = new MemoryStore({ clock, maxBuckets });
  store.close();
  const buckets = new BucketService(store);
  return { clock, store, of: (key: string, capacity = 10) => buckets.bucket({ capacity, refill: 1 }, key) };
}

describe('MemoryStore', () => {
  it.each([0, -1, 1.5, Number.NaN])('rejects %p for `maxBuckets`', (maxBuckets) => {
    expect(() => new MemoryStore({ maxBuckets })).toThrow(
      `\`maxBuckets\` must be a positive whole number, got ${maxBuckets}`,
    );
  });

  it('keeps at most `maxBuckets` of 100,000 keys, across all policies', async () => {
    const { store, of } = make(1000);
    for (let i = 0; i < 100_000; i++) await of(`key ${i}`, 5 + (i % 3)).tryConsume();
    expect(store.size).toBe(1000);
    expect(store.evicted).toBe(99_000);
  });

  it('removes full buckets first, and does not count them as evicted', async () => {
    const { store, clock, of } = make(3);
    await of('long').tryConsume(5);
    await of('full').tryConsume(1);
    await of('longer').tryConsume(9);
    await clock.advance(1000);
    await of('new').tryConsume(1);
    expect([store.size, store.evicted]).toEqual([3, 0]);
    expect([await of('long').available(), await of('longer').available()]).toEqual([6, 2]);
  });

  it('evicts the bucket nearest to full if none is full, across all policies, and counts it', async () => {
    const { store, of } = make(3);
    await of('half').tryConsume(5);
    await of('empty').tryConsume(10);
    await of('near', 20).tryConsume(2);
    await of('near', 20).tryConsume(1);
    await of('new').tryConsume(6);
    expect([store.size, store.evicted]).toEqual([3, 1]);
    expect(await of('near', 20).available()).toBe(20);
    expect(await of('half').available()).toBe(5);
    await of('newer').tryConsume(7);
    expect(await of('half').available()).toBe(10);
    expect(await of('empty').available()).toBe(0);
  });

  it('keeps a blocked key during a flood of new keys', async () => {
    const { store, of } = make(10);
    await of('blocked').block('1h');
    for (let i = 0; i < 10_000; i++) await of(`flood ${i}`).tryConsume(10);
    expect(await of('blocked').tryConsume()).toBe(false);
    expect(store.size).toBe(10);
  });

  it('evicts the blocked key whose block ends first if all keys are blocked', async () => {
    const { store, of } = make(2);
    await of('soon').block('1m');
    await of('late').block('1h');
    await of('new').tryConsume();
    expect(store.size).toBe(2);
    expect([await of('late').tryConsume(), await of('soon').tryConsume()]).toEqual([false, true]);
  });

  it('keeps other limits during a flood of blocked keys', async () => {
    const { store, of } = make(100);
    await of('limited').tryConsume(10);
    for (let i = 0; i < 1000; i++) {
      await of(`flood ${i}`).block('1h');
      await of(`new ${i}`).tryConsume();
    }
    expect(await of('limited').tryConsume()).toBe(false);
    expect(store.size).toBe(100);
    expect(await of('flood 999').tryConsume()).toBe(false);
    expect(await of('flood 900').tryConsume()).toBe(true);
    expect(store.evicted).toBeGreaterThanOrEqual(950);
  });

  it.each([
    ['block', async (bucket: Bucket) => bucket.block('1h')],
    [
      'a denial',
      async (bucket: Bucket) => {
        await bucket.tryConsume(10);
        await bucket.tryConsume();
      },
    ],
  ])('keeps at most half of the buckets blocked, over all policies: %s', async (_, block) => {
    const store = new MemoryStore({ maxBuckets: 20, clock: new FakeClock() });
    const service = new BucketService(store);
    const policies = ['a', 'b', 'c'].map(
      (name) => ({ name, capacity: 10, refill: 1, unit: 'hours', block: '1h' }) as const,
    );
    const buckets = Array.from({ length: 30 }, (__, i) => service.bucket(policies[i % 3], `key ${i}`));
    for (const bucket of buckets) await block(bucket);
    const allowed = await Promise.all(buckets.map((bucket) => bucket.estimate()));
    store.close();
    expect(allowed.filter((decision) => !decision.allowed)).toHaveLength(10);
    expect(store.evicted).toBe(20);
  });

  it('takes from several buckets if there is room for only one', async () => {
    const { store, of } = make(1);
    const service = new BucketService(store);
    const wanted = ['a', 'b', 'c'].map((name) => ({ policy: { name, capacity: 2, refill: 1 }, key: 'key', n: 2 }));
    expect((await service.decideAll(wanted)).allowed).toBe(true);
    expect(store.size).toBe(1);
    await of('x').tryConsume();
    await service.decideAll(wanted.slice(0, 1));
    expect(store.size).toBe(1);
  });

  it('sweeps buckets that have been full for ten seconds as new ones are added', async () => {
    const { store, clock, of } = make(100_000);
    for (let i = 0; i < 1000; i++) await of(`old ${i}`).tryConsume();
    await clock.advance(10_999);
    for (let i = 0; i < 600; i++) await of(`new ${i}`).tryConsume();
    expect(store.size).toBe(1600);
    await clock.advance(1);
    for (let i = 600; i < 1200; i++) await of(`new ${i}`).tryConsume();
    expect(store.size).toBeLessThanOrEqual(1201);
  });

  it('removes a bucket as soon as it is refilled, reset or unblocked', async () => {
    const { store, of } = make(10);
    await of('a').tryConsume(3);
    await of('a').put(3);
    await of('b').tryConsume(3);
    await of('b').reset();
    await of('c').block('1h');
    await of('c').unblock();
    expect(store.size).toBe(0);
  });

  it('tracks many buckets that are blocked and unblocked in any order', async () => {
    const { store, clock, of } = make(100_000);
    for (let i = 0; i < 300; i++) await of(`key ${i}`).block(1000 + ((i * 7) % 300));
    for (let i = 299; i >= 0; i -= 3) await of(`key ${i}`).unblock();
    for (let i = 298; i >= 0; i -= 3) {
      await of(`key ${i}`).charge(1 + (i % 9));
      await of(`key ${i}`).unblock();
    }
    expect(store.size).toBe(200);
    await clock.advance(1299);
    for (let i = 0; i < 300; i++) await of(`new ${i}`).tryConsume(10);
    const kept = await Promise.all(Array.from({ length: 300 }, (_, i) => of(`key ${i}`).available()));
    kept.forEach((available, i) => {
      expect(available).toBeCloseTo(i % 3 === 1 ? Math.min(10, 10 - (1 + (i % 9)) + 1.299) : 10, 6);
    });
    await clock.advance(60_000);
    for (let i = 0; i < 400; i++) await of(`newer ${i}`).tryConsume(10);
    expect(store.size).toBeLessThanOrEqual(400);
  });

  it('finds each of 200,000 buckets as the table grows and shrinks', () => {
    const { store } = make(1_000_000);
    const policy = parsePolicy({ capacity: 10, refill: 0 }, 'test');
    const run = (verb: Verb, i: number) =>
      store.run({ verb, takes: [{ policy, key: `key ${i}`, amount: verb === 'take' ? 1000 : 0, maxWait: 0 }] })
        .limits[0].remaining;
    const taken = new Array<number>(200_000).fill(0);
    for (let i = 0; i < 200_000; i++) {
      run('take', i);
      taken[i]++;
      if (i % 3 === 0) {
        run('take', i >> 1);
        taken[i >> 1]++;
      }
      if (i % 7 === 0) {
        const earlier = i - (i >> 3);
        run('reset', earlier);
        taken[earlier] = 0;
      }
    }
    expect(store.size).toBe(taken.filter((count) => count > 0).length);
    expect(store.dump().buckets[policy.id]).toHaveLength(store.size);
    expect(taken.findIndex((count, i) => run('estimate', i) !== 10 - count)).toBe(-1);
    for (let i = 0; i < 200_000; i++) run('reset', i);
    expect(store.size).toBe(0);
  });

  it('returns the limit names of the requested policy if another policy shares its buckets', () => {
    const { store } = make(10);
    const policies = ['one', 'other'].map((name) =>
      parsePolicy(
        {
          name: 'test',
          limits: [
            { name, maxRequest: 2 },
            { capacity: 5, refill: 1 },
          ],
        },
        'test',
      ),
    );
    const names = [0, 1, 1, 0].map((i) => {
      const takes = [{ policy: policies[i], key: 'a', amount: 1000, maxWait: 0 }];
      return store.run({ verb: 'take', takes }).limits[0].name;
    });
    expect(names).toEqual(['test/one', 'test/other', 'test/other', 'test/one']);
  });

  it.each([
    { maxRequest: 5, duration: 10 },
    { capacity: 5, refill: 0.5 },
  ])('changes nothing on a take of 0 tokens from %j', async (options) => {
    const { store, clock } = make(10);
    const policy = parsePolicy(options, 'test');
    const run = (amount: number) => store.run({ verb: 'take', takes: [{ policy, key: 'a', amount, maxWait: 0 }] });
    run(1000);
    const before = store.dump();
    await clock.advance(900);
    expect(run(0)).toMatchObject({ allowed: true, taken: 0, remaining: 'capacity' in options ? 4.45 : 4 });
    expect(store.dump()).toEqual(before);
  });
});
