import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Cluster, Redis } from 'ioredis';
import { type BucketService, RedisStore } from 'nest-rate-limit';
import { describeStoreContract } from 'nest-rate-limit/testing';
import { keySlot } from '../../../src/stores/redis/clients/key-slot.js';
import { closeBuckets, log, openBuckets } from '../../support/buckets.js';
import { itSince } from '../../support/it-since.js';
import { measured } from '../../support/lag.js';
import type { RedisServer } from '../../support/redis.js';
import { startCluster, withClient } from '../../support/redis-groups.js';
import { until } from '../../support/requests.js';

const POOL = { name: 'pool', capacity: 10, refill: 0 };
const SMALL = { name: 'small', capacity: 2, refill: 0 };
let group: Awaited<ReturnType<typeof startCluster>>;
let cluster: Cluster;
let storeCount = 0;

beforeAll(async () => {
  group = await startCluster();
  cluster = new Cluster(
    group.servers.map(({ port }) => ({ host: '127.0.0.1', port })),
    {
      redisOptions: { socketTimeout: 1000 },
    },
  );
  cluster.on('error', () => {});
  await until(() => cluster.status === 'ready');
});
afterAll(async () => {
  cluster?.disconnect();
  await group?.stop();
});
const prefix = () => `cluster-${storeCount++}:`;

describeStoreContract(
  'RedisStore on a Cluster',
  (clock) => new RedisStore({ client: cluster, clock, prefix: prefix() }),
);

describe('RedisStore on a Cluster', () => {
  closeBuckets();
  let buckets: BucketService;
  const open = async (timeout = 5000) => {
    ({ buckets } = await openBuckets({ store: { redis: cluster, prefix: prefix() }, failure: { timeout } }));
  };
  const paused: RedisServer[] = [];
  afterEach(() => {
    for (const server of paused.splice(0)) server.resume();
  });

  /** Returns the master that owns a user key. */
  const masterOf = async (key: string): Promise<RedisServer> => {
    const slot = (await cluster.cluster('KEYSLOT', key)) as number;
    const slots = await cluster.cluster('SLOTS');
    const port = slots.find(([from, to]) => from <= slot && slot <= to)?.[2][1];
    return group.servers.find((server) => server.port === port) as RedisServer;
  };
  /** Returns one user key for each of the three masters. */
  const keysOfMasters = async (): Promise<string[]> => {
    const keys = new Map<RedisServer, string>();
    for (let i = 0; keys.size < 3; i++) {
      const master = await masterOf(`key-${i}`);
      if (!keys.has(master)) keys.set(master, `key-${i}`);
    }
    return [...keys.values()];
  };

  it('decides requests for many keys in one turn of the event loop', async () => {
    await open();
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => buckets.bucket(SMALL, `${i % 40}`).decide()),
    );
    expect(answers.map(({ allowed }) => allowed)).toEqual(answers.map((_, i) => i < 80));
    expect(new Set(answers.map(({ source }) => source))).toEqual(new Set(['store']));
  });

  it('writes the commands of one turn to each node at once', async () => {
    await open();
    const decide = () => Promise.all(Array.from({ length: 96 }, (_, i) => buckets.bucket(POOL, `key-${i}`).decide()));
    // The first commands load the script.
    await decide();
    const reads = async () => {
      const infos = await Promise.all(cluster.nodes('master').map((node) => node.info('stats')));
      return infos.map((info) => Number(/total_reads_processed:(\d+)/.exec(info)?.[1]));
    };
    const before = await reads();
    await decide();
    const after = await reads();
    // 32 commands for each of three nodes on average. Nodes also read from each other.
    for (const [i, count] of after.entries()) expect(count - before[i]).toBeLessThan(20);
  });

  // INFO reports errors since 6.2.
  itSince(6.2).each<[string, (port: number) => Redis | Cluster]>([
    ['a plain connection', (port) => new Redis(port, '127.0.0.1')],
    ['a Cluster', (port) => new Cluster([{ host: '127.0.0.1', port }], { retryDelayOnTryAgain: 10 })],
  ])('retries while a slot is migrated, with %s', async (name, connect) => {
    const key = `migrated-${name}`.replaceAll(' ', '-');
    const from = await masterOf(key);
    const masters = await Promise.all((await keysOfMasters()).map(masterOf));
    const to = masters.find((server) => server !== from) as RedisServer;
    await withClient(from.url, (node) => node.config('RESETSTAT'));
    const slot = (await cluster.cluster('KEYSLOT', key)) as number;
    const [fromId, toId] = await Promise.all(
      [from, to].map(({ url }) => withClient(url, (node) => node.cluster('MYID'))),
    );
    const setSlot = (server: RedisServer, ...state: string[]) =>
      withClient(server.url, (node) => node.call('CLUSTER', 'SETSLOT', `${slot}`, ...state));
    const redis = connect(from.port);
    ({ buckets } = await openBuckets({
      store: { redis, prefix: prefix() },
      failure: { mode: 'closed', timeout: 5000 },
    }));
    await buckets.bucket(POOL, key).decide();
    await setSlot(to, 'IMPORTING', fromId as string);
    await setSlot(from, 'MIGRATING', toId as string);
    const decision = buckets.decideAll([
      { policy: POOL, key },
      { policy: SMALL, key },
    ]);
    await until(() => withClient(from.url, async (node) => (await node.info('errorstats')).includes('TRYAGAIN')));
    await setSlot(from, 'STABLE');
    await setSlot(to, 'STABLE');
    expect(await decision).toMatchObject({ allowed: true, source: 'store' });
    expect(await buckets.bucket(POOL, key).available()).toBe(8);
    redis.disconnect();
  });

  it('names the fix in the log if the connection reaches one node only', async () => {
    const redis = new Redis(group.servers[0].port, '127.0.0.1');
    ({ buckets } = await openBuckets({ store: { redis, prefix: prefix() }, failure: { timeout: 5000 } }));
    const keys = await keysOfMasters();
    const decisions = await Promise.all(keys.map((key) => buckets.bucket(SMALL, key).decide()));
    redis.disconnect();
    expect(decisions.map(({ source }) => source).sort()).toEqual(['fallback', 'fallback', 'store']);
    expect(log.lines.filter((line) => line.includes('Cluster'))).toEqual([
      expect.stringMatching(
        /^warn: This node of a Redis Cluster does not have the bucket: MOVED .* `redis: new Cluster/,
      ),
    ]);
  });

  it('takes from several policies of one key atomically', async () => {
    await open();
    const wanted = [
      { policy: POOL, key: 'one' },
      { policy: SMALL, key: 'one' },
    ];
    const answers = [];
    for (let i = 0; i < 3; i++) answers.push((await buckets.decideAll(wanted)).allowed);
    expect(answers).toEqual([true, true, false]);
    expect(await buckets.bucket(POOL, 'one').available()).toBe(8);
  });

  it('takes from policies with different keys in turn, and refunds them if one is denied', async () => {
    await open();
    const [a, b, c] = await keysOfMasters();
    const wanted = [
      { policy: POOL, key: a, n: 3 },
      { policy: SMALL, key: b, n: 1.5 },
      { policy: POOL, key: c, n: 1 },
    ];
    const available = () => Promise.all(wanted.map(({ policy, key }) => buckets.bucket(policy, key).available()));
    expect(await buckets.decideAll(wanted)).toMatchObject({ allowed: true, source: 'store', remaining: 0.5 });
    expect(await available()).toEqual([7, 0.5, 9]);
    const denied = await buckets.decideAll(wanted);
    expect(denied).toMatchObject({ allowed: false, policy: 'small', remaining: 0.5, retryAfter: Infinity });
    expect(denied.limits.map(({ remaining }) => remaining)).toEqual([7, 0.5, 9]);
    expect(await available()).toEqual([7, 0.5, 9]);
  });

  it('refunds a decision about several keys in each of their windows', async () => {
    await open();
    const keys = await keysOfMasters();
    const window = { name: 'window', maxRequest: 10, unit: 'hours' } as const;
    const decide = (n: number) => buckets.decideAll(keys.map((key) => ({ policy: window, key, n })));
    await decide(1);
    const decision = await decide(4);
    await decide(2);
    for (const key of keys) await buckets.bucket(window, key).put(4, { decision });
    for (const key of keys) expect(await buckets.bucket(window, key).available()).toBe(7);
  });

  it('refunds earlier takes if a later master does not answer, and takes nothing from that master afterwards', async () => {
    await open(150);
    const [a, b] = await keysOfMasters();
    const wanted = [
      { policy: POOL, key: a },
      { policy: POOL, key: b },
    ];
    expect((await buckets.decideAll(wanted)).source).toBe('store');
    const master = await masterOf(b);
    master.pause();
    paused.push(master);
    expect((await buckets.decideAll(wanted)).source).toBe('fallback');
    await sleep(200);
    master.resume();
    for (const key of [a, b]) {
      const bucket = buckets.bucket(POOL, key);
      await until(async () => (await bucket.estimate()).source === 'store' && (await bucket.available()) === 9);
    }
  });

  it('suspends calls only to the master that does not answer', async () => {
    const { store, buckets: own } = await openBuckets({
      store: { redis: cluster, prefix: prefix() },
      failure: { timeout: 50 },
    });
    const [sick, ...others] = await keysOfMasters();
    const sourceOf = async (key: string) => (await own.bucket({ ...POOL, capacity: 1000 }, key).decide()).source;
    for (const key of [sick, ...others]) await until(async () => (await sourceOf(key)) === 'store');
    const master = await masterOf(sick);
    master.pause();
    paused.push(master);
    await until(async () => {
      expect(await sourceOf(sick)).toBe('fallback');
      return store.health().status === 'down';
    });
    const suspended = own.bucket(POOL, sick).decide();
    // On a busy machine a call may miss its deadline, but none is suspended.
    for (const key of others) for (let i = 0; i < 8; i++) await until(async () => (await sourceOf(key)) === 'store');
    expect((await suspended).source).toBe('fallback');
    const { error } = store.health();
    expect(error?.message).toBe(`Redis Cluster node 127.0.0.1:${master.port}: No answer within 50 ms`);
    // A request for several masters needs all of them.
    const across = await own.decideAll([sick, ...others].map((key) => ({ policy: POOL, key })));
    expect(across.source).toBe('fallback');
    master.resume();
    await until(() => store.health().status === 'up');
    await until(async () => (await sourceOf(sick)) === 'store');
    expect(log.lines.map((line) => line.replace(/ 127.*/, ''))).toEqual([
      'error: Rate limit store unavailable; using failure mode "local": Redis Cluster node',
      'log: Rate limit store available again',
    ]);
  });

  it('decides a request for several masters in Redis although the process is busy', async () => {
    const { buckets: own } = await openBuckets({
      store: { redis: cluster, prefix: prefix() },
      failure: { timeout: 200 },
    });
    const wanted = (await keysOfMasters()).map((key) => ({ policy: POOL, key }));
    await until(async () => (await own.decideAll(wanted)).source === 'store');
    const sources: string[] = [];
    for (let i = 0; i < 3; i++) {
      const decision = own.decideAll(wanted);
      await new Promise(setImmediate);
      const end = performance.now() + 300;
      while (performance.now() < end);
      sources.push((await decision).source);
    }
    // On a busy machine a master may be late, but not each time.
    expect(sources).toContain('store');
  });

  it('computes the slots of keys as the servers do', async () => {
    for (const key of ['123456789', 'key', 'a', '2001:db8::1', '203.0.113.7']) {
      expect(keySlot(key)).toBe(await cluster.cluster('KEYSLOT', key));
    }
  });

  it('wakes watchers, whichever master owns the key', async () => {
    await open();
    for (const key of await keysOfMasters()) {
      const bucket = buckets.bucket(SMALL, key);
      await bucket.tryConsume(2);
      const watched = bucket.watch(1, { timeout: 5000 });
      await sleep(30);
      await bucket.put(1);
      await watched;
    }
  });

  // The documented rules are those of 6.2 and later, which have channels.
  itSince(6.2)('needs no permissions beyond the documented ACL rules', async () => {
    const page = readFileSync(new URL('../../../docs/guides/redis.md', import.meta.url), 'utf8');
    const rule = page.match(/^ACL SETUSER (.*)$/m)?.[1].split(' ') ?? [];
    const clusterRule = page.match(/On a Cluster .*`(\+[^`]*)`/)?.[1].split(' ') ?? [];
    for (const { url } of group.servers) {
      await withClient(url, (node) => node.acl('SETUSER', ...([...rule, ...clusterRule] as [string, ...string[]])));
    }
    const limited = new Cluster([{ host: '127.0.0.1', port: group.servers[0].port }], {
      redisOptions: { username: 'limiter', password: 'password' },
    });
    limited.on('error', () => {});
    const { buckets } = await openBuckets({ store: { redis: limited }, failure: { timeout: 5000 } });
    for (const key of await keysOfMasters()) {
      const bucket = buckets.bucket(SMALL, `${key}-limited`);
      expect(await bucket.decide(2)).toMatchObject({ allowed: true, source: 'store' });
      const watched = bucket.watch(1, { timeout: 3000 });
      await sleep(30);
      await bucket.put(1);
      await watched;
    }
    limited.disconnect();
  });

  it('continues with the replica after a master fails', async () => {
    await open(50);
    const [lost, ...others] = await keysOfMasters();
    const take = (key: string) => buckets.bucket({ ...POOL, capacity: 100_000 }, key).decide();
    for (const key of [lost, ...others]) expect((await take(key)).source).toBe('store');
    const master = await masterOf(lost);
    await master.kill();
    let slowest = 0;
    let served = 0;
    const decidesInRedis = async () => {
      const { value, ms } = await measured(() => Promise.all([lost, ...others].map(take)));
      const [own, ...rest] = value;
      slowest = Math.max(slowest, ms);
      served += rest.filter(({ source }) => source === 'store').length;
      return own.source === 'store';
    };
    const { ms } = await measured(() => until(decidesInRedis));
    expect(ms).toBeLessThan(5000);
    expect(slowest).toBeLessThan(150);
    expect(served).toBeGreaterThan(0); // keys of the other masters were still decided in Redis
  });
});
