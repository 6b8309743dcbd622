import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { closeBuckets, openBuckets } from '../../support/buckets.js';
import { type RedisServer, startRedis } from '../../support/redis.js';
import { addAllSlots } from '../../support/redis-groups.js';
import { type ShardingProxy, shardOf, startShardingProxy } from '../../support/sharding-proxy.js';

const POOL = { name: 'pool', capacity: 5, refill: 0 };
const SMALL = { name: 'small', capacity: 1, refill: 0 };
const failure = { mode: 'closed', timeout: '5s' } as const;

closeBuckets();
const clients: Redis[] = [];
const client = (port: number, options = {}): Redis => {
  const opened = new Redis(port, '127.0.0.1', options);
  opened.on('error', () => {});
  clients.push(opened);
  return opened;
};
afterEach(() => {
  for (const opened of clients.splice(0)) opened.disconnect();
});

describe('a plain connection to a Cluster with one shard', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis({ args: ['--cluster-enabled', 'yes'] });
    const admin = client(server.port);
    await addAllSlots(admin);
  });
  afterAll(() => server.kill());
  afterEach(async () => {
    await client(server.port).flushall();
  });

  it('decides all requests of one turn in Redis, also the first ones', async () => {
    const { buckets } = await openBuckets({ store: { redis: server.url, denyCache: false }, failure });
    for (let round = 0; round < 2; round++) {
      const decisions = await Promise.all(
        Array.from({ length: 40 }, (_, i) => buckets.bucket(POOL, `key-${i % 8}`).decide()),
      );
      expect(new Set(decisions.map(({ source }) => source))).toEqual(new Set(['store']));
      expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(round === 0 ? 40 : 0);
    }
  });

  it('takes from buckets of several keys together or not at all, also the first time', async () => {
    const { buckets } = await openBuckets({ store: { redis: server.url, denyCache: false }, failure });
    const both = (key: string) =>
      buckets.decideAll([
        { policy: POOL, key },
        { policy: SMALL, key: `other ${key}` },
      ]);
    const first = await Promise.all([both('a'), both('b'), buckets.bucket(POOL, 'a').decide()]);
    expect(first.map(({ allowed }) => allowed)).toEqual([true, true, true]);
    expect(await both('a')).toMatchObject({ allowed: false, source: 'store' });
    expect(await buckets.bucket(POOL, 'a').available()).toBe(3);
    expect(await buckets.bucket(POOL, 'b').available()).toBe(4);
  });

  it('sends individual requests if `batch` is false', async () => {
    const { buckets } = await openBuckets({ store: { redis: client(server.port), batch: false }, failure });
    const decisions = await Promise.all(
      ['a', 'b', 'c', 'd', 'e', 'f'].map((key) => buckets.bucket(SMALL, key).decide()),
    );
    expect(decisions.every(({ allowed }) => allowed)).toBe(true);
  });
});

describe('a proxy that routes scripts by their first key', () => {
  let servers: RedisServer[];
  let proxy: ShardingProxy;
  beforeAll(async () => {
    servers = [await startRedis(), await startRedis()];
    proxy = await startShardingProxy(servers);
  });
  afterAll(async () => {
    await proxy.close();
    await Promise.all(servers.map((server) => server.kill()));
  });
  const keyOn = (shard: number): string => {
    for (let i = 0; ; i++) if (shardOf(`{user-${i}}`, 2) === shard) return `user-${i}`;
  };

  it('keeps each bucket on one server with `sharded: true`', async () => {
    const redis = client(proxy.port, { protocol: 2, enableReadyCheck: false, disableClientInfo: true });
    const { buckets } = await openBuckets({ store: { redis, sharded: true, denyCache: false }, failure });
    const keys = [keyOn(0), keyOn(1)];
    const allowed = [0, 0];
    for (let i = 0; i < 12; i++) {
      const order = i % 2 === 0 ? [0, 1] : [1, 0];
      const decisions = await Promise.all(order.map((k) => buckets.bucket(POOL, keys[k]).decide()));
      for (const [k, decision] of decisions.entries()) allowed[order[k]] += Number(decision.allowed);
    }
    expect(allowed).toEqual([5, 5]);
    const both = keys.map((key) => ({ policy: SMALL, key }));
    expect((await buckets.decideAll(both)).allowed).toBe(true);
    for (const { policy, key } of both) expect(await buckets.bucket(policy, key).available()).toBe(0);
  });
});
