import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { closeBuckets, log, openBuckets } from '../../support/buckets.js';
import { measured } from '../../support/lag.js';
import { freePort } from '../../support/redis.js';
import { startSentinels, withClient } from '../../support/redis-groups.js';
import { until } from '../../support/requests.js';

const POOL = { name: 'pool', capacity: 100_000, refill: 0 };

describe('RedisStore with Sentinel', () => {
  closeBuckets();
  let group: Awaited<ReturnType<typeof startSentinels>>;
  beforeAll(async () => {
    group = await startSentinels();
  });
  afterAll(() => group?.stop());

  it('finds the master, and the new master after a failover', async () => {
    const [master] = group.servers;
    const { buckets, store } = await openBuckets({ store: { redis: { sentinels: group.sentinels, name: 'main' } } });
    const bucket = buckets.bucket(POOL, 'key');
    // On a busy machine the first call may miss its deadline.
    await until(async () => (await bucket.estimate()).source === 'store');
    expect(await bucket.decide()).toMatchObject({ allowed: true, source: 'store' });
    await until(async () => {
      const replicas = await Promise.all(
        group.servers.slice(1, 3).map(({ url }) => withClient(url, (replica) => replica.dbsize())),
      );
      return replicas.every((size) => size === 1);
    });

    await master.kill();
    let slowest = 0;
    let fallback = 0;
    const decidesInRedis = async () => {
      const { value, ms } = await measured(() => bucket.decide());
      const { allowed, source } = value;
      slowest = Math.max(slowest, ms);
      expect(allowed).toBe(true);
      if (source === 'fallback') fallback++;
      return source === 'store';
    };
    const { ms } = await measured(() => until(decidesInRedis, 10_000));
    expect(fallback).toBeGreaterThan(0);
    expect(slowest).toBeLessThan(100 + 50);
    expect(ms).toBeLessThan(8000);
    // Both takes from Redis are counted: the first was replicated, and takes in between used the local fallback.
    expect(await bucket.available()).toBe(POOL.capacity - 2);
    expect(store.health()).toEqual({ status: 'up' });
    expect(log.lines.map((line) => line.slice(0, 5))).toEqual(['error', 'log: ']);
  });
});

describe('RedisStore without reachable Sentinels', () => {
  closeBuckets();

  it('does not prevent the application from starting', async () => {
    const sentinels = [
      { host: '127.0.0.1', port: await freePort() },
      { host: '127.0.0.1', port: await freePort() },
    ];
    const { value, ms } = await measured(() => openBuckets({ store: { redis: { sentinels, name: 'main' } } }));
    expect(ms).toBeLessThan(2500);
    expect((await value.buckets.bucket(POOL, 'key').decide()).source).toBe('fallback');
  });
});
