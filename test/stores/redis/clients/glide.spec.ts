import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { GlideClient, GlideClusterClient, Logger } from '@valkey/valkey-glide';
import { Redis } from 'ioredis';
import { RedisStore } from 'nest-rate-limit';
import { describeStoreContract } from 'nest-rate-limit/testing';
import { createClient } from 'redis';
import { closeBuckets, log, openBuckets } from '../../../support/buckets.js';
import { redisUrl } from '../../../support/redis.js';
import { exercise } from '../../../support/redis-clients.js';
import { type Proxied, startCluster, startProxied } from '../../../support/redis-groups.js';
import { until } from '../../../support/requests.js';

const POOL = { name: 'pool', capacity: 1000, refill: 0 };
const NO_SUBSCRIBER =
  'it cannot open a second connection, so `watch` checks its bucket every 5 s; pass a second client as `subscriber`';
const cleanups: (() => unknown)[] = [];
let count = 0;
const prefix = () => `glide-${process.pid}-${count++}:`;

Logger.setLoggerConfig('off');
closeBuckets();
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function connect(url: string, requestTimeout = 5000, options = {}): Promise<GlideClient> {
  const { hostname: host, port } = new URL(url);
  const client = await GlideClient.createClient({
    addresses: [{ host, port: Number(port) }],
    requestTimeout,
    ...options,
  });
  cleanups.push(() => client.close());
  return client;
}

async function proxied(): Promise<Proxied> {
  const started = await startProxied();
  cleanups.push(() => started.stop());
  return started;
}

let client: GlideClient;
let subscriber: GlideClient;
beforeAll(async () => {
  const { hostname: host, port } = new URL(redisUrl());
  const open = () => GlideClient.createClient({ addresses: [{ host, port: Number(port) }] });
  [client, subscriber] = [await open(), await open()];
});
afterAll(() => {
  client.close();
  subscriber.close();
});
describeStoreContract(
  'RedisStore on Valkey GLIDE',
  (clock) => new RedisStore({ client, subscriber, clock, prefix: prefix() }),
);

const SUBSCRIBERS = {
  'Valkey GLIDE': () => connect(redisUrl()),
  ioredis: async () => {
    const client = new Redis(redisUrl());
    cleanups.push(() => client.disconnect());
    return client;
  },
  'node-redis': async () => {
    const client = createClient({ url: redisUrl() });
    client.on('error', () => {});
    cleanups.push(() => client.destroy());
    await client.connect();
    return client;
  },
};

describe('RedisStore on Valkey GLIDE', () => {
  it.each(Object.entries(SUBSCRIBERS))('runs each operation, with a subscriber of %s', async (_, open) => {
    const subscriber = await open();
    const redis = await connect(redisUrl());
    await exercise({ redis, subscriber: subscriber as never, prefix: prefix() });
    expect(log.lines).toEqual([]);
  });

  it('checks buckets that are watched every five seconds without a subscriber, and warns of that at startup', async () => {
    await openBuckets({ store: { redis: await connect(redisUrl()), prefix: prefix() } });
    expect(log.lines).toEqual([`warn: Redis connection: ${NO_SUBSCRIBER}`]);
  });

  it('warns about a subscriber of a version of GLIDE that cannot subscribe', async () => {
    const subscriber = await connect(redisUrl());
    Object.assign(subscriber, { subscribe: undefined });
    const { buckets } = await openBuckets({
      store: { redis: await connect(redisUrl()), subscriber, prefix: prefix() },
    });
    expect(log.lines).toEqual([
      'warn: Redis connection: `subscriber` cannot subscribe, so `watch` checks its bucket every 5 s; use a client of ' +
        'GLIDE 2.3 or later',
    ]);
    await buckets.bucket(POOL, 'key').watch(1);
  });

  it('warns about a subscriber that passes messages to a callback of its configuration', async () => {
    const pubsubSubscriptions = { channelsAndPatterns: {}, callback: () => {} };
    const subscriber = await connect(redisUrl(), 5000, { pubsubSubscriptions });
    const { buckets } = await openBuckets({
      store: { redis: await connect(redisUrl()), subscriber, prefix: prefix() },
    });
    const bucket = buckets.bucket(POOL, 'key');
    await bucket.decide(POOL.capacity);
    const watched = bucket.watch(1, { timeout: 10 });
    await expect(watched).rejects.toThrow();
    expect(log.lines).toEqual([
      expect.stringMatching(
        /^warn: `subscriber` receives no messages, so `watch` checks its bucket every 5 s: .* configured callback/,
      ),
    ]);
  });

  it('warns about a `requestTimeout` below the deadline', async () => {
    const redis = await connect(redisUrl(), 100);
    await openBuckets({ store: { redis, prefix: prefix() }, failure: { timeout: 200 } });
    const setting = '`requestTimeout` (100 ms) is below the deadline of 200 ms; raise it';
    expect(log.lines).toEqual([`warn: Redis connection: ${setting}; ${NO_SUBSCRIBER}`]);
  });

  it('rejects its own client as the subscriber', async () => {
    const client = await connect(redisUrl());
    expect(() => new RedisStore({ client, subscriber: client })).toThrow('`subscriber` must be a client of');
  });

  it('decides by the failure mode during an outage, and in Redis afterwards', async () => {
    const { proxy } = await proxied();
    const redis = await connect(proxy.url);
    const { buckets, store } = await openBuckets({ store: { redis, prefix: prefix() } });
    const bucket = buckets.bucket(POOL, 'key');
    await until(async () => (await bucket.decide()).source === 'store');
    proxy.break();
    await until(async () => (await bucket.decide()).source === 'fallback' && store.health().status === 'down');
    proxy.repair();
    await until(async () => (await bucket.decide()).source === 'store', 10_000);
    expect(store.health()).toEqual({ status: 'up' });
  });
});

describe('RedisStore on a Cluster of Valkey GLIDE', () => {
  it('runs each operation', async () => {
    const group = await startCluster();
    cleanups.push(() => group.stop());
    const addresses = group.servers.map(({ port }) => ({ host: '127.0.0.1', port }));
    const open = async () => {
      const client = await GlideClusterClient.createClient({ addresses, requestTimeout: 5000 });
      cleanups.push(() => client.close());
      return client;
    };
    const [redis, subscriber] = [await open(), await open()];
    for (let i = 0; i < 3; i++) await exercise({ redis, subscriber, prefix: prefix() });
    expect(log.lines).toEqual([]);
  });
});
