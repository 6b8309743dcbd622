import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Redis, type RedisOptions } from 'ioredis';
import { RedisStore } from 'nest-rate-limit';
import { closeBuckets, openBuckets } from '../../support/buckets.js';
import { type RedisServer, startRedis } from '../../support/redis.js';
import { until } from '../../support/requests.js';

const PASSWORD = 'p@ss:w/r#d?';
const ENCODED = encodeURIComponent(PASSWORD);
const POOL = { name: 'pool', capacity: 10, refill: 0 };

closeBuckets();
const dir = mkdtempSync(join(tmpdir(), 'nest-rate-limit-socket-'));
const socket = join(dir, 'redis.sock');
let server: RedisServer;
let admin: Redis;
beforeAll(async () => {
  server = await startRedis({ args: ['--unixsocket', socket, '--requirepass', PASSWORD] });
  admin = new Redis(server.url, { password: PASSWORD });
});
afterAll(async () => {
  admin.disconnect();
  await server.kill();
  rmSync(dir, { recursive: true, force: true });
});

/** The number of keys in a database. */
const keysIn = async (db: number): Promise<number> => {
  await admin.select(db);
  return admin.dbsize();
};

describe('the address of Redis', () => {
  it.each<[string, (port: number) => string | RedisOptions, number]>([
    ['a URL', (port) => `redis://:${ENCODED}@127.0.0.1:${port}`, 0],
    ['a URL in capitals, with blanks around it', (port) => ` REDIS://default:${ENCODED}@127.0.0.1:${port}\n`, 0],
    ['a URL with a database', (port) => `redis://:${ENCODED}@localhost:${port}/3?family=4`, 3],
    ['a URL with options', (port) => `redis://127.0.0.1:${port}/4?password=${ENCODED}&connectTimeout=500`, 4],
    ['a URL with `lazyConnect`', (port) => `redis://:${ENCODED}@127.0.0.1:${port}/5?lazyConnect=true&noDelay=false`, 5],
    ['a URL with null', (port) => `redis://:${ENCODED}@127.0.0.1:${port}/6?maxRetriesPerRequest=null`, 6],
    ['a socket', () => `${socket}?db=7&password=${ENCODED}`, 7],
    ['options', (port) => ({ host: '127.0.0.1', port, password: PASSWORD, db: 8 }), 8],
    [
      'options out of the environment',
      (port) => ({ host: '127.0.0.1', port: `${port}`, password: PASSWORD, db: '9', tls: undefined }) as never,
      9,
    ],
    ['a socket in options', () => ({ path: socket, host: undefined, password: PASSWORD, db: 10 }), 10],
    [
      'options with `lazyConnect`',
      (port) => ({ host: '127.0.0.1', port, password: PASSWORD, db: 11, lazyConnect: true }),
      11,
    ],
  ])('may be %s', async (_, target, db) => {
    await admin.flushall();
    const { buckets } = await openBuckets({
      store: { redis: target(server.port) },
      failure: { mode: 'closed', timeout: '5s' },
    });
    expect((await buckets.bucket(POOL, 'key').decide()).source).toBe('store');
    expect(await keysIn(db)).toBe(1);
  });

  it.each<[string, (port: number) => string | RedisOptions]>([
    ['a URL', (port) => `redis://:${ENCODED}@127.0.0.1:${port}/99`],
    ['options', (port) => ({ host: '127.0.0.1', port, password: PASSWORD, db: 99 })],
  ])('fails startup if the server rejects its database, with %s', async (_, target) => {
    await expect(openBuckets({ store: { redis: target(server.port) } })).rejects.toThrow(
      `Redis at 127.0.0.1:${server.port} rejects \`db: 99\`, and ioredis would use database 0: ERR DB index is out of range`,
    );
  });

  it('fails startup if a Cluster rejects its database', async () => {
    const cluster = await startRedis({ args: ['--cluster-enabled', 'yes'] });
    await expect(RedisStore.connect(`${cluster.url}/1`)).rejects.toThrow(
      /rejects `db: 1`, .*: ERR (SELECT is not allowed in cluster mode|DB index is out of range)/, // Valkey 9: the latter
    );
    await cluster.kill();
  });

  it.each([
    [{ sharded: 'yes' as never }, "`sharded` must be true or false, got 'yes'"],
    [{ prefix: '{' }, '`prefix` must be at most 64 characters'],
  ])('is closed again if another option is invalid: %j', async (options, message) => {
    const connections = async () => ((await admin.client('LIST')) as string).trim().split('\n').length;
    const before = await connections();
    const url = `redis://:${ENCODED}@127.0.0.1:${server.port}`;
    await expect(RedisStore.connect(url, options)).rejects.toThrow(message);
    await until(async () => (await connections()) === before);
  });

  it('is checked by `RedisStore.connect`, too', async () => {
    await expect(RedisStore.connect({ hots: 'db' } as never)).rejects.toThrow(
      'target: ioredis has no option `hots`. Did you mean `host`?',
    );
  });
});
