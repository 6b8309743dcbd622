import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { RedisStore } from 'nest-rate-limit';
import { describeStoreContract } from 'nest-rate-limit/testing';
import { createClient, createClientPool, createCluster, createSentinel } from 'redis';
import { closeBuckets, log, openBuckets } from '../../../support/buckets.js';
import { redisUrl } from '../../../support/redis.js';
import { exercise } from '../../../support/redis-clients.js';
import { type Proxied, startCluster, startProxied, startSentinels } from '../../../support/redis-groups.js';
import { until } from '../../../support/requests.js';

type Client = ReturnType<typeof createClient>;

const POOL = { name: 'pool', capacity: 1000, refill: 0 };
const cleanups: (() => unknown)[] = [];
let count = 0;
const prefix = () => `node-redis-${process.pid}-${count++}:`;

closeBuckets();
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const RECONNECTING = { reconnectStrategy: () => 20, socketTimeout: 5000 };

async function connect(url: string, options = {}): Promise<Client> {
  const client = createClient({ url, socket: RECONNECTING, pingInterval: 500, ...options }) as Client;
  client.on('error', () => {});
  cleanups.push(() => client.isOpen && client.destroy());
  await client.connect();
  return client;
}

async function proxied(): Promise<Proxied> {
  const started = await startProxied();
  cleanups.push(() => started.stop());
  return started;
}

const contractClient = createClient({ url: redisUrl() });
contractClient.on('error', () => {});
beforeAll(async () => {
  await contractClient.connect();
});
afterAll(() => contractClient.destroy());
describeStoreContract(
  'RedisStore on node-redis',
  (clock) => new RedisStore({ client: contractClient, clock, prefix: prefix() }),
);

describe('RedisStore on node-redis', () => {
  it.each([{}, { RESP: 3 }, { disableOfflineQueue: true }, { commandOptions: { timeout: 1000 } }])(
    'runs each operation with the options %j',
    async (options) => {
      await exercise({ redis: await connect(redisUrl(), options), prefix: prefix() });
      expect(log.lines).toEqual([]);
    },
  );

  it('waits for a connection that is being opened', async () => {
    const client = createClient({ url: redisUrl() });
    client.on('error', () => {});
    cleanups.push(() => client.destroy());
    void client.connect();
    const { buckets } = await openBuckets({ store: { redis: client, prefix: prefix() }, failure: { timeout: '2s' } });
    expect(await buckets.bucket(POOL, 'key').decide()).toMatchObject({ source: 'store' });
  });

  it('lists unsuitable settings in one warning', async () => {
    const client = createClient({ url: redisUrl(), socket: { reconnectStrategy: false } });
    await client.connect();
    cleanups.push(() => client.destroy());
    await openBuckets({ store: { redis: client, prefix: prefix() } });
    expect(log.lines).toEqual([
      expect.stringMatching(
        /^warn: Redis connection: without a listener of `error`.*; `socket.reconnectStrategy: false`.*; without `socket.socketTimeout`/,
      ),
    ]);
  });

  it('warns about a client without a listener of errors while it connects, too', async () => {
    const client = createClient({ url: redisUrl(), socket: RECONNECTING, pingInterval: 500 });
    const connected = client.connect();
    cleanups.push(() => client.destroy());
    await openBuckets({ store: { redis: client, prefix: prefix() } });
    expect(log.lines).toEqual([
      expect.stringMatching(/^warn: Redis connection: without a listener of `error`[^;]*; add/),
    ]);
    await connected;
  });

  it('names the client to create instead of one that it cannot use', async () => {
    const pool = createClientPool({ url: redisUrl() });
    expect(() => new RedisStore({ client: pool as never })).toThrow(
      '`client` must be a client of ioredis, node-redis or Valkey GLIDE',
    );
    await expect(RedisStore.connect(pool as never)).rejects.toThrow(
      'got another client of node-redis; create one with',
    );
  });

  it('rejects at once while the client reconnects, and decides again without a restart', async () => {
    const { proxy } = await proxied();
    const client = await connect(proxy.url);
    const { buckets, store } = await openBuckets({ store: { redis: client, prefix: prefix() } });
    const bucket = buckets.bucket(POOL, 'key');
    await until(async () => (await bucket.decide()).source === 'store');
    proxy.break();
    await until(() => !client.isReady);
    expect((await bucket.decide()).source).toBe('fallback');
    await expect(bucket.put(1)).rejects.toMatchObject({ outcome: 'not-applied' });
    await until(() => store.health().status === 'down' || bucket.decide().then(() => false));
    proxy.repair();
    await until(async () => (await bucket.decide()).source === 'store', 5000);
    expect(store.health()).toEqual({ status: 'up' });
  });

  it('subscribes again when the connection of its subscription was lost', async () => {
    const { server } = await proxied();
    const admin = await connect(server.url);
    const client = await connect(server.url);
    const opened = await openBuckets({ store: { redis: client, prefix: prefix() }, failure: { timeout: '5s' } });
    const bucket = opened.buckets.bucket({ name: 'one', capacity: 1, refill: 0 }, 'key');
    await bucket.decide();
    const watched = bucket.watch(1, { timeout: '4s' });
    const subscriber = async () =>
      /id=(\d+)/.exec(`${await admin.sendCommand(['CLIENT', 'LIST', 'TYPE', 'PUBSUB'])}`)?.[1];
    await until(async () => (await subscriber()) !== undefined);
    const first = await subscriber();
    await admin.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub']);
    await until(async () => ![undefined, first].includes(await subscriber()));
    await bucket.put(1);
    await watched;
  });

  it('decides in Redis and subscribes again when all connections were lost with commands under way', async () => {
    const { server, proxy } = await proxied();
    const admin = await connect(server.url);
    const client = await connect(proxy.url, { socket: { reconnectStrategy: () => 20, socketTimeout: 1000 } });
    const opened = await openBuckets({ store: { redis: client, prefix: prefix() }, failure: { timeout: '200ms' } });
    const bucket = opened.buckets.bucket({ name: 'one', capacity: 1, refill: 0 }, 'key');
    for (let round = 0; round < 5; round++) {
      await until(async () => (await bucket.decide()).source === 'store', 10_000);
      const watched = bucket.watch(1, { timeout: '20s' });
      await until(async () => (await admin.pubSubChannels()).length === 1, 10_000);
      const decisions = Array.from({ length: 20 }, () => bucket.estimate());
      proxy.cut();
      await Promise.allSettled(decisions);
      await until(async () => client.isReady && (await admin.pubSubChannels()).length === 1, 10_000);
      await until(
        () =>
          bucket.put(1).then(
            () => true,
            () => false,
          ),
        10_000,
      );
      await watched;
    }
  });
});

describe('RedisStore on a Cluster of node-redis', () => {
  let group: Awaited<ReturnType<typeof startCluster>>;
  let cluster: ReturnType<typeof createCluster>;
  beforeAll(async () => {
    group = await startCluster();
    cluster = createCluster({
      rootNodes: group.servers.map(({ url }) => ({ url })),
      defaults: { socket: RECONNECTING, pingInterval: 500 },
    }) as ReturnType<typeof createCluster>;
    cluster.on('error', () => {});
    await cluster.connect();
  });
  afterAll(async () => {
    cluster?.destroy();
    await group?.stop();
  });

  it('runs each operation', async () => {
    for (let i = 0; i < 3; i++) await exercise({ redis: cluster, prefix: prefix() });
    expect(log.lines).toEqual([]);
  });

  it('decides without Redis only for the keys of a master that is down, until a replica replaces it', async () => {
    const { buckets: own } = await openBuckets({ store: { redis: cluster, prefix: prefix() } });
    const sourceOf = async (key: string) => (await own.bucket(POOL, key).decide()).source;
    const keys = Array.from({ length: 12 }, (_, i) => `key-${i}`);
    for (const key of keys) await until(async () => (await sourceOf(key)) === 'store');
    const port = cluster.masters[0].port;
    await group.servers.find((server) => server.port === port)?.kill();
    const sources = new Set<string>();
    await until(async () => {
      const found = await Promise.all(keys.map(sourceOf));
      for (const source of found) sources.add(source);
      return sources.has('fallback') && found.every((source) => source === 'store');
    }, 15_000);
    expect(sources).toEqual(new Set(['store', 'fallback']));
  }, 30_000);
});

describe('RedisStore on Sentinels of node-redis', () => {
  let group: Awaited<ReturnType<typeof startSentinels>>;
  beforeAll(async () => {
    group = await startSentinels();
  });
  afterAll(() => group?.stop());

  it('runs each operation, and finds the new master after a failover', async () => {
    const sentinel = createSentinel({
      name: 'main',
      sentinelRootNodes: group.sentinels,
      nodeClientOptions: { socket: { reconnectStrategy: () => 50 } },
    });
    sentinel.on('error', () => {});
    await sentinel.connect();
    cleanups.push(() => sentinel.destroy());
    await exercise({ redis: sentinel, prefix: prefix() });
    const { buckets: own } = await openBuckets({ store: { redis: sentinel, prefix: prefix() } });
    const bucket = own.bucket(POOL, 'key');
    await until(async () => (await bucket.decide()).source === 'store');
    // Also more commands than one batch has.
    const many = await Promise.all(Array.from({ length: 200 }, () => bucket.decide()));
    expect(new Set(many.map(({ source }) => source))).toEqual(new Set(['store']));
    await group.servers[0].kill();
    await until(async () => (await bucket.decide()).source !== 'store');
    await until(async () => (await bucket.decide()).source === 'store', 15_000);
  }, 40_000);
});
