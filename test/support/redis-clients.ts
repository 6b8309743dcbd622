import { expect } from '@jest/globals';
import { GlideClient, GlideClusterClient, Logger } from '@valkey/valkey-glide';
import { Cluster, Redis } from 'ioredis';
import type { BucketService, RateLimitModuleOptions, RedisTarget } from 'nest-rate-limit';
import { createClient, createCluster } from 'redis';
import { openBuckets } from './buckets.js';

/** A client library, with the settings that docs/guides/clients.md recommends. */
export interface TestedClient {
  readonly name: string;
  /** Returns a value for `store: { redis }`. The server may be unavailable. */
  open(url: string): Promise<{ redis: RedisTarget; close(): unknown }>;
}

type NodeRedis = Pick<ReturnType<typeof createClient>, 'isOpen' | 'destroy'> & {
  on(event: 'error', listener: () => void): unknown;
  connect(): Promise<unknown>;
};

Logger.setLoggerConfig('off');

const RECONNECTING = {
  pingInterval: 500,
  socket: { socketTimeout: 2000, reconnectStrategy: (retries: number) => Math.min(50 * retries, 500) },
};

function glideOptions(url: string) {
  const { hostname: host, port } = new URL(url);
  return {
    addresses: [{ host, port: Number(port) }],
    connectionBackoff: { numberOfRetries: 4, factor: 25, exponentBase: 2 },
    lazyConnect: true,
  };
}

/** Connects a client of node-redis, which keeps trying. */
function connect<T extends NodeRedis>(redis: T): { redis: T; close(): unknown } {
  redis.on('error', () => {});
  void redis.connect().catch(() => {});
  return { redis, close: () => redis.isOpen && redis.destroy() };
}

export const CLIENTS: readonly TestedClient[] = [
  { name: 'ioredis', open: async (redis) => ({ redis, close: () => {} }) },
  { name: 'node-redis', open: async (url) => connect(createClient({ url, ...RECONNECTING })) },
  {
    name: 'Valkey GLIDE',
    open: async (url) => {
      const redis = await GlideClient.createClient(glideOptions(url));
      return { redis, close: () => redis.close() };
    },
  },
];

/** What an application may have: unlike the connection of the module, it queues commands and sends them again. */
export const OWN_IOREDIS: TestedClient = {
  name: 'ioredis with its defaults',
  open: async (url) => {
    const redis = new Redis(url);
    redis.on('error', () => {});
    return { redis, close: () => redis.disconnect() };
  },
};

/** Clients of a Cluster, to one of whose nodes the URL leads. */
export const CLUSTER_CLIENTS: readonly TestedClient[] = [
  {
    name: 'a Cluster of ioredis',
    open: async (url) => {
      const redis = new Cluster([url]);
      redis.on('error', () => {});
      return { redis, close: () => redis.disconnect() };
    },
  },
  {
    name: 'a Cluster of node-redis',
    open: async (url) => connect(createCluster({ rootNodes: [{ url }], defaults: RECONNECTING })),
  },
  {
    name: 'a Cluster of Valkey GLIDE',
    open: async (url) => {
      const redis = await GlideClusterClient.createClient(glideOptions(url));
      return { redis, close: () => redis.close() };
    },
  },
];

const POOL = { name: 'pool', capacity: 10, refill: 0 };
const SMALL = { name: 'small', duration: 10, maxRequest: 2 };
let keyCount = 0;

/** Calls each operation of a store once, with a subscription and a wait. */
export async function exercise(store: RateLimitModuleOptions['store']): Promise<BucketService> {
  const { buckets, store: opened } = await openBuckets({ store, failure: { mode: 'closed', timeout: '5s' } });
  const key = `key-${keyCount++}`;
  const bucket = buckets.bucket(POOL, key);
  expect(await bucket.decide(4)).toMatchObject({ allowed: true, remaining: 6, source: 'store' });
  expect((await bucket.estimate(7)).allowed).toBe(false);
  await bucket.put(1);
  await bucket.charge(2);
  expect(await bucket.consumeUpTo(5)).toBe(5);
  expect(await bucket.available()).toBe(0);
  await bucket.block('1m');
  expect((await bucket.decide()).allowed).toBe(false);
  await bucket.unblock();
  // Longer than the test may take: without the subscription it would check the bucket only after 5 s.
  const watched = bucket.watch(3, { timeout: '4s' });
  await bucket.put(3);
  await watched;
  const waited = await buckets.bucket({ name: 'slow', capacity: 1, refill: 50 }, key).consume(1, { maxWait: '1s' });
  expect(waited.allowed).toBe(true);
  const larger = await bucket.replacePolicy({ ...POOL, capacity: 20 }, 'additive');
  expect(await larger.available()).toBe(13);
  await larger.reset();
  expect(await larger.available()).toBe(20);
  const several = [
    { policy: POOL, key },
    { policy: SMALL, key: `other ${key}` },
  ];
  expect((await buckets.decideAll(several)).allowed).toBe(true);
  expect(opened.health()).toEqual({ status: 'up' });
  return buckets;
}
