import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { BucketService, type LimitOptions, RedisStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { type RedisServer, startRedis } from '../support/redis.js';

/*
 * docs/guides/redis.md states how much memory buckets use in Redis, and what happens when Redis is full. These tests
 * measure both.
 */

const page = readFileSync('docs/guides/redis.md', 'utf8');

let server: RedisServer;
let redis: Redis;
beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});
beforeEach(() => redis.flushall());

describe('Table of memory per key in docs/guides/redis.md', () => {
  const THREE = [1, 60, 3600].map((duration) => ({ capacity: 10 * duration, refill: 10 * duration, duration }));
  const states: Record<string, { policy: LimitOptions; takes?: number; everyMs?: number }> = {
    'a token bucket': { policy: { capacity: 20, refill: 10, unit: 'minutes' } },
    'three token buckets in one policy': { policy: { limits: THREE } },
    'a window of 5, with one admission': { policy: { maxRequest: 5, unit: 'minutes' } },
    'a window of 5, with all five': { policy: { maxRequest: 5, unit: 'minutes' }, takes: 5 },
    'a window of 128, with all 128': { policy: { maxRequest: 128, unit: 'minutes' }, takes: 128 },
    'a window of 1,000, with all 1,000 in 128 slots': {
      policy: { maxRequest: 1000, unit: 'minutes' },
      takes: 1000,
      everyMs: 59,
    },
  };
  const rows = [...page.matchAll(/^\| (\w.*?) +\| +([\d,]+) B \| +[\d.]+ kB \|$/gm)].map(([, state, bytes]) => ({
    state,
    bytes: Number(bytes.replace(',', '')),
  }));

  it('lists every measured state', () => expect(rows.map(({ state }) => state)).toEqual(Object.keys(states)));

  it.each(rows)('documents the memory usage of $state within 40 %', async ({ state, bytes }) => {
    const { policy, takes = 1, everyMs = 2 } = states[state];
    const clock = new FakeClock();
    const store = new RedisStore({ client: redis, clock });
    const bucket = new BucketService(store).bucket({ name: 'SmsController.send', ...policy }, '203.0.113.7');
    for (let i = 0; i < takes; i++) {
      expect(await bucket.tryConsume()).toBe(true);
      await clock.advance(everyMs);
    }
    const [key] = await redis.keys('*');
    const usage = (await redis.memory('USAGE', key, 'SAMPLES', 0)) as number;
    // Other server versions store keys differently.
    expect(usage).toBeGreaterThan(bytes * 0.6);
    expect(usage).toBeLessThan(bytes * 1.4);
  });
});

describe('Redis at maxmemory', () => {
  const POLICY: LimitOptions = { name: 'policy', capacity: 20, refill: 10, unit: 'minutes' };
  const FLOOD = 20_000;

  /** Returns how many of 200 old keys survive a flood of new ones, how many calls fail, and how many keys remain. */
  async function flood(evictionPolicy: string) {
    await redis.config('SET', 'maxmemory', '0');
    await redis.config('SET', 'maxmemory-policy', evictionPolicy);
    const buckets = new BucketService(new RedisStore({ client: redis }));
    for (let i = 0; i < 100; i++) {
      await buckets.bucket(POLICY, `old-blocked-${i}`).block('1h');
      await buckets.bucket(POLICY, `old-empty-${i}`).decide(20);
    }
    const used = Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
    await redis.config('SET', 'maxmemory', `${used + 2_000_000}`);
    let failed = 0;
    for (let i = 0; i < FLOOD; i += 500) {
      const keys = Array.from({ length: 500 }, (_, k) => `new-${i + k}`);
      const answers = await Promise.allSettled(keys.map((key) => buckets.bucket(POLICY, key).decide()));
      failed += answers.filter(({ status }) => status === 'rejected').length;
    }
    const oldKeys = (await redis.keys('*{old-*')).length;
    await redis.config('SET', 'maxmemory', '0');
    return { oldKeys, failed, allKeys: await redis.dbsize() };
  }

  it('evicts only new keys with volatile-ttl, and no call fails', async () => {
    const { oldKeys, failed, allKeys } = await flood('volatile-ttl');
    expect([oldKeys, failed]).toEqual([200, 0]);
    expect(allKeys).toBeLessThan(FLOOD);
  });

  it('evicts nothing with noeviction, and fails the calls that need memory', async () => {
    const { oldKeys, failed, allKeys } = await flood('noeviction');
    expect(oldKeys).toBe(200);
    expect(failed).toBe(FLOOD + 200 - allKeys);
    expect(failed).toBeGreaterThan(0);
  });

  it.each(['volatile-lru', 'allkeys-lru'])('evicts blocked keys with %s', async (evictionPolicy) => {
    // The number depends on the machine: Redis ages keys in seconds, so in a fast flood all keys look alike.
    expect((await flood(evictionPolicy)).oldKeys).toBeLessThan(200);
  });
});
