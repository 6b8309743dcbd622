import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { RedisStore } from 'nest-rate-limit';
import { closeBuckets, log, openBuckets } from '../../support/buckets.js';
import { freePort, type RedisServer, startRedis } from '../../support/redis.js';
import { addAllSlots } from '../../support/redis-groups.js';
import { until } from '../../support/requests.js';
import { TcpProxy } from '../../support/tcp-proxy.js';

const POOL = { name: 'pool', capacity: 10, refill: 0 };

closeBuckets();
let server: RedisServer;
let proxy: TcpProxy;
const clients: (Redis | Cluster)[] = [];
beforeAll(async () => {
  server = await startRedis();
  proxy = await TcpProxy.open(server.port);
});
afterEach(async () => {
  server.resume();
  proxy.repair();
  for (const client of clients.splice(0)) client.disconnect();
});
afterAll(async () => {
  await proxy.close();
  await server.kill();
});

function client(url: string, options: RedisOptions = {}): Redis {
  const opened = new Redis(url, options);
  opened.on('error', () => {});
  clients.push(opened);
  return opened;
}

/** The tokens left, as another connection sees them. */
async function tokensLeft(key: string): Promise<number> {
  const { buckets } = await openBuckets({ store: { redis: server.url } });
  return buckets.bucket(POOL, key).available();
}

describe('the deadline of a command', () => {
  it('is that of the client if `commandTimeout` is shorter', async () => {
    const redis = client(proxy.url, { commandTimeout: 30, maxRetriesPerRequest: 0 });
    const { buckets } = await openBuckets({ store: { redis }, failure: { mode: 'closed', timeout: '10s' } });
    const bucket = buckets.bucket(POOL, 'command-timeout');
    await until(() =>
      bucket.decide().then(
        () => true,
        () => false,
      ),
    );
    const left = await tokensLeft('command-timeout');
    proxy.onCommand = () => 'keep';
    const calls = Array.from({ length: 3 }, () => bucket.decide());
    for (const call of calls) await expect(call).rejects.toThrow('Command timed out');
    proxy.repair();
    await until(() =>
      bucket.available().then(
        () => true,
        () => false,
      ),
    );
    expect(await bucket.available()).toBe(left);
  });

  it('is that of the connection if `socketTimeout` is shorter', async () => {
    const redis = client(server.url, {
      socketTimeout: 200,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
    });
    const { buckets } = await openBuckets({ store: { redis }, failure: { mode: 'closed', timeout: '10s' } });
    const bucket = buckets.bucket(POOL, 'socket-timeout');
    await bucket.decide();
    server.pause();
    const calls = [bucket.decide(), sleep(150).then(() => bucket.decide())];
    for (const result of await Promise.allSettled(calls)) expect(result.status).toBe('rejected');
    // The second command was sent 150 ms after the first, and its own 200 ms are not over.
    server.resume();
    expect(await tokensLeft('socket-timeout')).toBe(9);
  });

  it('is `failure.timeout` on a connection of the module, also if it is longer than 2 s', async () => {
    const { buckets } = await openBuckets({
      store: { redis: server.url },
      failure: { mode: 'closed', timeout: '10s' },
    });
    const bucket = buckets.bucket(POOL, 'own');
    await bucket.decide();
    server.pause();
    const decision = bucket.decide();
    await sleep(2300);
    server.resume();
    expect(await decision).toMatchObject({ source: 'store', remaining: 8 });
  });
});

describe('a connection that closes before the reply', () => {
  /** Cuts the connection at the next reply of the script. */
  const cutNextReply = (): void => {
    proxy.onReply = () => {
      proxy.onReply = () => 'pass';
      return 'cut';
    };
  };

  it.each<[string, RedisOptions]>([
    ['the defaults of ioredis', {}],
    ['automatic pipelining', { enableAutoPipelining: true }],
    ['protocol 2', { protocol: 2 } as RedisOptions],
  ])('takes once with %s', async (name, options) => {
    const redis = client(proxy.url, options);
    const { buckets } = await openBuckets({ store: { redis }, failure: { mode: 'closed', timeout: '10s' } });
    const bucket = buckets.bucket(POOL, name);
    expect((await bucket.decide()).remaining).toBe(9);
    cutNextReply();
    await expect(bucket.decide()).rejects.toThrow('The connection closed before the reply');
    expect((await bucket.decide()).remaining).toBe(7);
  });

  it('takes once on a Cluster', async () => {
    const port = await freePort();
    const front = await TcpProxy.open(port);
    const announced = Number(new URL(front.url).port);
    const one = await startRedis({
      port,
      args: [
        '--cluster-enabled',
        'yes',
        '--cluster-announce-ip',
        '127.0.0.1',
        '--cluster-announce-port',
        `${announced}`,
      ],
    });
    const admin = client(one.url);
    await addAllSlots(admin);
    const cluster = new Cluster([{ host: '127.0.0.1', port: announced }]);
    cluster.on('error', () => {});
    clients.push(cluster);
    const { buckets } = await openBuckets({ store: { redis: cluster }, failure: { mode: 'closed', timeout: '10s' } });
    const bucket = buckets.bucket(POOL, 'cluster');
    expect((await bucket.decide()).remaining).toBe(9);
    front.onReply = () => {
      front.onReply = () => 'pass';
      return 'cut';
    };
    await expect(bucket.decide()).rejects.toThrow('The connection closed before the reply');
    expect((await bucket.decide()).remaining).toBe(7);
    cluster.disconnect();
    await front.close();
    await one.kill();
  });
});

describe('the settings of a connection', () => {
  const SILENT = 'without `socketTimeout`, a connection that fell silent may be used for minutes; set it to 2000';

  it.each<[RedisOptions, string]>([
    [{}, SILENT],
    [
      { commandTimeout: 20, socketTimeout: 2000 },
      '`commandTimeout` (20 ms) is below the deadline of 50 ms, and loses replies that would still be in time; remove it',
    ],
    [{ socketTimeout: 40 }, '`socketTimeout` (40 ms) is below the deadline of 50 ms; raise it'],
    [{ socketTimeout: 2000, retryStrategy: null as never }, '`retryStrategy: null` never reconnects; remove it'],
    [{ readOnly: true }, `\`readOnly\` sends commands to replicas, which cannot take tokens; remove it; ${SILENT}`],
  ])('%j get one warning', async (options, warning) => {
    const redis = client(server.url, options);
    await openBuckets({ store: { redis } });
    await openBuckets({ store: new RedisStore({ client: redis, timeout: 50 }) });
    expect(log.lines).toEqual([`warn: Redis connection: ${warning}`]);
  });

  it('get no warning if they suit', async () => {
    await openBuckets({ store: { redis: client(server.url, { socketTimeout: 2000, maxRetriesPerRequest: null }) } });
    await openBuckets({ store: { redis: server.url } });
    expect(log.lines).toEqual([]);
  });
});

describe('`mustConnect`', () => {
  const RECOMMENDED = { enableOfflineQueue: false, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 };

  it.each<[string, RedisOptions]>([
    ['has just been created', RECOMMENDED],
    ['is opened by its first command', { ...RECOMMENDED, lazyConnect: true }],
    ['queues commands until it is ready', {}],
  ])('waits for a connection that %s', async (_, options) => {
    const redis = client(server.url, options);
    const store = await RedisStore.connect(redis, { mustConnect: true });
    expect(redis.status).toBe('ready');
    store.close();
  });

  it('rejects a client that is closed', async () => {
    const redis = client(server.url);
    await redis.quit();
    await until(() => redis.status === 'end');
    await expect(RedisStore.connect(redis, { mustConnect: true })).rejects.toThrow('the connection is closed');
  });
});
