import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { type RateLimitStoreError, RedisStore } from 'nest-rate-limit';
import { createSentinel } from 'redis';
import { parsePolicy } from '../../../../src/core/policy.js';
import { Random } from '../../../support/random.js';
import { CLIENTS, CLUSTER_CLIENTS, OWN_IOREDIS, type TestedClient } from '../../../support/redis-clients.js';
import { type Proxied, startProxied, startSentinel } from '../../../support/redis-groups.js';
import { until } from '../../../support/requests.js';

const SENTINEL: TestedClient = {
  name: 'Sentinels of node-redis',
  open: async (url) => {
    const { port, kill } = await startSentinel(url);
    const redis = createSentinel({
      name: 'main',
      sentinelRootNodes: [{ host: '127.0.0.1', port }],
      nodeClientOptions: { socket: { reconnectStrategy: () => 50 } },
    });
    redis.on('error', () => {});
    await redis.connect();
    const close = async () => {
      redis.destroy();
      await kill();
    };
    return { redis, close };
  },
};

const CONNECTIONS = [OWN_IOREDIS, ...CLIENTS, SENTINEL, ...CLUSTER_CLIENTS];
const CAPACITY = 10_000;
const policy = parsePolicy({ capacity: CAPACITY, refill: 0 }, 'outcomes');
const take = { policy, key: 'key', amount: 1000, maxWait: 0 };

describe.each(CONNECTIONS)('The outcome of a request with $name', (client) => {
  let proxied: Proxied;
  let admin: RedisStore;
  let redis: Redis;
  const stores: RedisStore[] = [];
  const closings: (() => unknown)[] = [];

  beforeAll(async () => {
    proxied = await startProxied(CLUSTER_CLIENTS.includes(client));
    redis = new Redis(proxied.server.url);
    admin = new RedisStore({ client: redis });
  });
  afterEach(async () => {
    proxied.proxy.repair();
    for (const store of stores.splice(0)) store.close();
    for (const close of closings.splice(0)) await close();
  });
  afterAll(async () => {
    redis.disconnect();
    await proxied.stop();
  });

  const charge = (store: RedisStore): Promise<string> =>
    store.run({ verb: 'charge', takes: [take] }).then(
      () => 'applied',
      (error: RateLimitStoreError) => error.outcome,
    );
  const isReady = (store: RedisStore) => until(async () => (await charge(store)) === 'applied', 10_000, 10);

  /** A store without batches, on a connection through the proxy. */
  async function open(timeout: number): Promise<RedisStore> {
    const { redis, close } = await client.open(proxied.proxy.url);
    closings.push(close);
    const store = await RedisStore.connect(redis, { timeout, batch: false });
    stores.push(store);
    await isReady(store);
    return store;
  }

  /** How many tokens were charged since the last call. */
  async function charged(): Promise<number> {
    const { balance } = await admin.run({ verb: 'estimate', takes: [{ ...take, amount: 0 }] });
    await admin.run({ verb: 'reset', takes: [take] });
    return CAPACITY - balance;
  }

  it('is unknown if the connection closes before the reply, and the request is executed once', async () => {
    const store = await open(10_000);
    await charged();
    let isSent = false;
    proxied.proxy.onCommand = (chunk) => {
      isSent ||= /evalsha/i.test(`${chunk}`);
      return 'pass';
    };
    let isCut = false;
    proxied.proxy.onReply = () => {
      isCut ||= isSent;
      return isCut ? 'cut' : 'pass';
    };
    const outcome = charge(store);
    await until(() => isCut);
    proxied.proxy.repair();
    expect(await outcome).toBe('unknown');
    await isReady(store);
    expect(await charged()).toBe(2);
  });

  it.each<[string, (proxied: Proxied, redis: Redis) => unknown, (proxied: Proxied) => unknown]>([
    [
      'is held on its way',
      ({ proxy }) => {
        proxy.onCommand = () => 'keep';
      },
      ({ proxy }) => proxy.repair(),
    ],
    ['is sent to a suspended server', ({ server }) => server.pause(), ({ server }) => server.resume()],
    ['is sent to a server that pauses its clients', (_, redis) => redis.client('PAUSE', 100), () => {}],
  ])('is that nothing was applied if the request %s until after its deadline', async (_, hold, release) => {
    const store = await open(50);
    await charged();
    await hold(proxied, redis);
    const outcome = charge(store);
    await sleep(100);
    release(proxied);
    expect(await outcome).toBe('not-applied');
    expect(await charged()).toBe(0);
  });

  it('bounds how many requests were executed, whenever connections close', async () => {
    const store = await open(10_000);
    const random = new Random(1);
    let applied = 0;
    let unknown = 0;
    for (let round = 0; round < 12; round++) {
      await isReady(store);
      await charged();
      let left = random.between(0, 9);
      const fate = () => (left-- === 0 ? 'cut' : 'pass');
      if (random.next() < 0.5) proxied.proxy.onCommand = fate;
      else proxied.proxy.onReply = fate;
      const outcomes: Promise<string>[] = [];
      for (let i = 0; i < 60; i++) {
        outcomes.push(charge(store));
        if (random.next() < 0.2) await sleep(1);
      }
      const seen = await Promise.all(outcomes);
      proxied.proxy.repair();
      const executed = await charged();
      const certain = seen.filter((outcome) => outcome === 'applied').length;
      const uncertain = seen.filter((outcome) => outcome === 'unknown').length;
      expect(executed).toBeGreaterThanOrEqual(certain);
      expect(executed).toBeLessThanOrEqual(certain + uncertain);
      applied += certain;
      unknown += uncertain;
    }
    expect(applied).toBeGreaterThan(100);
    expect(unknown).toBeGreaterThan(10);
  });
});
