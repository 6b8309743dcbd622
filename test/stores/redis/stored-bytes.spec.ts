import { afterAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { RedisStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { type LimitOptions, parsePolicy } from '../../../src/core/policy.js';
import { defineResolvedPolicy } from '../../../src/core/resolved-policy.js';
import { redisKey } from '../../../src/stores/redis/redis-key.js';
import { redisUrl } from '../../support/redis.js';
import { BLOCKED, compactState, extendedState, MARKED, QUEUED, SCALED } from '../../support/stored-state.js';

const THREE = {
  limits: [
    { capacity: 10, refill: 1 },
    { capacity: 100, refill: 1, unit: 'minutes' },
    { capacity: 1000, refill: 1, unit: 'hours' },
  ],
} satisfies LimitOptions;

describe('the stored state of a bucket', () => {
  const client = new Redis(redisUrl());
  const clock = new FakeClock();
  const prefix = `bytes-${process.pid}:`;
  const store = new RedisStore({ client, prefix, clock });
  afterAll(async () => {
    store.close();
    await client.quit();
  });

  const open = (options: LimitOptions, key: string) => {
    const policy = parsePolicy(options, 'api');
    const run = (verb: 'take' | 'estimate' | 'charge' | 'block', amount = 1000, maxWait = 0, mark?: number) =>
      store.run({ verb, takes: [{ policy, key, amount, maxWait, mark }], duration: 60_000 });
    return { run, redisName: redisKey(prefix, key, policy), limits: policy.limits };
  };

  describe('in the memory of Redis', () => {
    // As long as the default prefix, whose keys may be those of other tests.
    const small = new RedisStore({ client, prefix: 'sb:', clock });
    afterAll(() => small.close());

    it.each([
      ['a bucket', { capacity: 100, refill: 10 }, 100],
      ['a window', { maxRequest: 100, unit: 'minutes' }, 130],
      ['three limits', THREE, 130],
    ] as const)('of %s takes at most the expected bytes', async (_, options, bytes) => {
      const policy = parsePolicy(options, 'api');
      const key = redisKey('sb:', '203.0.113.7', policy);
      // The first value may be in a longer string that Redis has kept from an argument of an earlier script.
      for (let i = 0; i < 2; i++) {
        await client.del(key);
        await small.run({ verb: 'take', takes: [{ policy, key: '203.0.113.7', amount: 1000, maxWait: 0 }] });
      }
      expect(await client.memory('USAGE', key)).toBeLessThanOrEqual(bytes);
      await client.del(key);
    });
  });

  it('is compact if it is no more than the state of its limits', async () => {
    const bucket = open({ capacity: 100, refill: 10 }, 'compact');
    await bucket.run('take');
    expect(await client.getBuffer(bucket.redisName)).toEqual(compactState([clock.now(), 1000]));
    const window = open({ maxRequest: 100, unit: 'minutes' }, 'compact');
    await window.run('take');
    expect(await client.getBuffer(window.redisName)).toEqual(compactState([clock.now(), 1000, clock.now(), 1000]));
  });

  it.each([
    ['blocks', BLOCKED, (at: number) => [at + 60_000]],
    ['marks', MARKED, () => [1, 77, 0]],
    ['queues', QUEUED, (at: number) => [1000, 1, at + 1000, 1000]],
  ])('has a section for %s', async (what, flag, section) => {
    const bucket = open({ capacity: 1, refill: 1 }, what);
    if (flag === MARKED) await bucket.run('take', 1000, 0, 77);
    else await bucket.run('take');
    if (flag === BLOCKED) await bucket.run('block', 0);
    if (flag === QUEUED) await bucket.run('take', 1000, Infinity);
    const debt = flag === QUEUED ? 2000 : 1000;
    const expected = extendedState([clock.now(), debt, ...section(clock.now())], flag);
    expect(await client.getBuffer(bucket.redisName)).toEqual(expected);
  });

  it('has a section for the numbers that were resolved for it, which must not be 0', async () => {
    const policy = defineResolvedPolicy({ capacity: 1, refill: 1 }, 'api');
    const name = redisKey(prefix, 'scales', policy);
    const take = () =>
      store.run({ verb: 'take', takes: [{ policy, key: 'scales', amount: 1000, maxWait: 0, mark: undefined }] });
    await take();
    const state = (weight: number) => extendedState([clock.now(), 1000, 1000, weight, 1000], SCALED);
    expect(await client.getBuffer(name)).toEqual(state(1));
    await client.set(name, state(0));
    await expect(take()).rejects.toThrow('its value is not a bucket');
  });

  it('is unreadable with a section of a later version', async () => {
    const bucket = open({ capacity: 1, refill: 1 }, 'later');
    const value = extendedState([clock.now(), 1000, 1], 16);
    await client.set(bucket.redisName, value);
    await expect(bucket.run('take')).rejects.toThrow('its value is not a bucket, or of a later version');
    expect(await client.getBuffer(bucket.redisName)).toEqual(value);
  });

  it('keeps debts of any size', async () => {
    let large = 0;
    const debts = fc.oneof(
      fc.integer({ min: 1, max: 2 ** 53 - 1 }),
      fc.constantFrom(2 ** 48 - 1, 2 ** 48, 2 ** 53 - 1),
    );
    await fc.assert(
      fc.asyncProperty(
        debts,
        fc.constantFrom<LimitOptions>(THREE, { maxRequest: 9, unit: 'days' }),
        async (n, options) => {
          if (n >= 2 ** 48) large++;
          const { run, redisName, limits } = open(options, 'debts');
          await client.del(redisName);
          const { balance } = await run('charge', n);
          expect((await run('estimate', 0)).balance).toBe(balance);
          const value = (await client.getBuffer(redisName)) as Buffer;
          const numbers = limits.length > 1 ? 1 + limits.length : 4;
          const debt = n * Math.max(...limits.map(({ weight }) => weight));
          expect(value).toHaveLength(debt < 2 ** 48 ? 6 * numbers : 8 * numbers + 1);
        },
      ),
    );
    expect(large).toBeGreaterThan(20);
  });
});
