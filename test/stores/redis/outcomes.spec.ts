import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Cluster, Redis } from 'ioredis';
import { RateLimitStoreError, RedisStore } from 'nest-rate-limit';
import { parsePolicy } from '../../../src/core/policy.js';
import { freePort, type RedisServer, startRedis } from '../../support/redis.js';
import { until } from '../../support/requests.js';
import { TcpProxy } from '../../support/tcp-proxy.js';

/** The timer of a disconnection would keep the test running for two seconds. */
const SHORT = { disconnectTimeout: 10 };
const policy = parsePolicy({ capacity: 10, refill: 0 }, 'outcomes');
const clients: { disconnect(): void }[] = [];
let server: RedisServer;
let proxy: TcpProxy;
let key = 0;

beforeAll(async () => {
  server = await startRedis();
  proxy = await TcpProxy.open(server.port);
});
afterEach(async () => {
  proxy.repair();
  for (const client of clients.splice(0)) client.disconnect();
  await sleep(20); // connections close asynchronously
});
afterAll(async () => {
  await proxy.close();
  await server.kill();
});

const take = () => ({ policy, key: `${key}`, amount: 1000, maxWait: 0 });
const charge = (store: RedisStore) => store.run({ verb: 'charge', takes: [take()] });
const outcomeOf = (call: Promise<unknown>) =>
  call.then(
    () => 'applied',
    (error: RateLimitStoreError) => error.outcome,
  );
async function balance(): Promise<number> {
  const store = storeOn(new Redis(server.url, SHORT), 10_000);
  return (await store.run({ verb: 'estimate', takes: [{ ...take(), amount: 0 }] })).balance;
}
function storeOn(client: Redis | Cluster, timeout: number): RedisStore {
  client.on('error', () => {});
  clients.push(client);
  return new RedisStore({ client, timeout });
}

describe('The outcome of a failed request', () => {
  const open = async (options = {}, timeout = 10_000) => {
    key++;
    const store = storeOn(new Redis(proxy.url, { retryStrategy: () => 20, ...SHORT, ...options }), timeout);
    await until(async () => (await outcomeOf(charge(store))) === 'applied');
    return store;
  };

  it.each([
    ['without an offline queue', { enableOfflineQueue: false, maxRetriesPerRequest: 0 }],
    ['that sends nothing again', { autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 }],
    ['that ends with its connection', { retryStrategy: () => null }],
  ])('is unknown if a connection %s is lost before the reply', async (_, options) => {
    const store = await open(options);
    const before = await balance();
    proxy.onReply = () => 'cut';
    expect(await outcomeOf(charge(store))).toBe('unknown');
    proxy.repair();
    expect(await balance()).toBe(before - 1);
  });

  it('is that nothing was applied if the connection is not ready and has no queue', async () => {
    const store = await open({ enableOfflineQueue: false, maxRetriesPerRequest: 0 });
    proxy.break();
    await until(() => store.health().status === 'down');
    expect(await outcomeOf(charge(store))).toBe('not-applied');
  });

  it('is that nothing was applied if a Cluster is not ready and has no queue', async () => {
    key++;
    const nodes = [{ host: '127.0.0.1', port: await freePort() }];
    const cluster = new Cluster(nodes, { enableOfflineQueue: false, redisOptions: SHORT });
    expect(await outcomeOf(charge(storeOn(cluster, 10_000)))).toBe('not-applied');
  });

  it('is that nothing was applied if the command arrives after its deadline', async () => {
    const store = await open({}, 500);
    const before = await balance();
    server.pause();
    const charged = outcomeOf(charge(store));
    const start = performance.now();
    await until(() => performance.now() - start > 600);
    server.resume();
    expect(await charged).toBe('not-applied');
    expect(await balance()).toBe(before);
  });

  it.each([
    ['is out of memory', ['CONFIG', 'SET', 'maxmemory', '1mb'], ['CONFIG', 'SET', 'maxmemory', '0']],
    ['is a replica', ['REPLICAOF', '127.0.0.1', '1'], ['REPLICAOF', 'NO', 'ONE']],
    [
      'lacks replicas',
      ['CONFIG', 'SET', 'min-replicas-to-write', '1'],
      ['CONFIG', 'SET', 'min-replicas-to-write', '0'],
    ],
  ])('is that nothing was applied if the server %s', async (_, fault, repair) => {
    const store = await open();
    const before = await balance();
    const admin = new Redis(server.url, SHORT);
    clients.push(admin);
    await admin.call(...(fault as [string, ...string[]]));
    expect(await outcomeOf(charge(store))).toBe('not-applied');
    await admin.call(...(repair as [string, ...string[]]));
    expect(await balance()).toBe(before);
  });

  it('is that nothing was applied if the bucket cannot be read', async () => {
    const store = await open();
    const admin = new Redis(server.url, SHORT);
    clients.push(admin);
    for (const name of await admin.keys(`*{${key}}*`)) await admin.set(name, 'foreign');
    await expect(charge(store)).rejects.toMatchObject({ scope: 'bucket', outcome: 'not-applied' });
  });

  it('is unknown for errors of stores that do not report it', () => {
    expect(new RateLimitStoreError('failed').outcome).toBe('unknown');
    expect(new RateLimitStoreError('full', 'write').outcome).toBe('not-applied');
    const cause = new Error('refused');
    const error = new RateLimitStoreError('refused', 'store', { cause, outcome: 'not-applied' });
    expect(JSON.parse(JSON.stringify(error))).toMatchObject({ scope: 'store', outcome: 'not-applied' });
    expect(error.cause).toBe(cause);
  });
});
