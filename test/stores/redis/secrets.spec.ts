import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Redis, type RedisOptions } from 'ioredis';
import { RedisStore } from 'nest-rate-limit';
import { parsePolicy } from '../../../src/core/policy.js';
import { closeBuckets, openBuckets } from '../../support/buckets.js';
import { type RedisServer, startRedis } from '../../support/redis.js';

const PASSWORD = 'right-secret';
const WRONG = 'wrong-secret';
const KEY = 'alice@example.com';
const failure = { mode: 'closed', timeout: '5s' } as const;

closeBuckets();
let server: RedisServer;
let admin: Redis;
beforeAll(async () => {
  server = await startRedis();
  admin = new Redis(server.url);
  await admin.config('SET', 'requirepass', PASSWORD);
});
afterAll(async () => {
  admin.disconnect();
  await server.kill();
});

/** All that a log could print of an error: its message, properties, causes and stack. */
function printed(error: unknown): string {
  return inspect(error, { depth: Infinity, showHidden: true });
}

async function errorOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => undefined,
    (error) => error,
  );
}

/** Connects with a password that the server rejects. */
const CONNECTIONS: Record<string, () => string | RedisOptions> = {
  'a URL': () => `redis://user:${WRONG}@127.0.0.1:${server.port}`,
  options: () => ({ host: '127.0.0.1', port: server.port, username: 'user', password: WRONG }),
};

describe('errors of the Redis store', () => {
  it.each(Object.keys(CONNECTIONS))('contain no rejected password, with %s', async (how) => {
    const { store, buckets } = await openBuckets({ store: { redis: CONNECTIONS[how]() }, failure });
    const calls = await Promise.all(
      Array.from({ length: 8 }, () => errorOf(buckets.bucket({ capacity: 5, refill: 1 }, KEY).decide())),
    );
    const { error } = store.health();
    for (const each of [...calls, error]) {
      expect(each).toBeInstanceOf(Error);
      expect(printed(each)).not.toContain(WRONG);
      expect(printed(each)).not.toContain(KEY);
    }
    expect(error?.message).toMatch(/is not ready: WRONGPASS/);
  });

  it.each(Object.keys(CONNECTIONS))('contain no rejected password at startup, with %s', async (how) => {
    const error = await errorOf(RedisStore.connect(CONNECTIONS[how](), { mustConnect: true }));
    expect(error).toMatchObject({ message: expect.stringMatching(/^Cannot connect to Redis at .*WRONGPASS/) });
    expect(printed(error)).not.toContain(WRONG);
  });

  it('contain no keys of requests that the server rejected', async () => {
    const client = new Redis(server.url, { password: PASSWORD });
    const store = new RedisStore({ client });
    const policy = parsePolicy({ name: 'x', capacity: 5, refill: 1 }, 'x');
    const take = () => store.run({ verb: 'take', takes: [{ policy, key: KEY, amount: 1000, maxWait: 0 }] });
    await take();
    await admin.config('SET', 'maxmemory', '1');
    const full = await errorOf(take());
    await admin.config('SET', 'maxmemory', '0');
    await admin.acl('SETUSER', 'default', '-evalsha', '-eval');
    const forbidden = await errorOf(take());
    await admin.acl('SETUSER', 'default', '+evalsha', '+eval');
    client.disconnect();
    expect(full).toMatchObject({ scope: 'write', cause: { message: expect.stringContaining('OOM') } });
    expect(forbidden).toMatchObject({ cause: { message: expect.stringContaining('NOPERM') } });
    for (const error of [full, forbidden]) expect(printed(error)).not.toContain(KEY);
  });
});
