import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { BucketService, RateLimitStoreError, RedisStore, type RedisStoreOptions } from 'nest-rate-limit';
import { describeStoreContract, FakeClock } from 'nest-rate-limit/testing';
import type { StoreRequest, Verb } from '../../../src/core/request.js';
import { closeBuckets, openBuckets } from '../../support/buckets.js';
import { compile } from '../../support/compile.js';
import { type RedisServer, redisUrl, startRedis } from '../../support/redis.js';

const client = new Redis(redisUrl());
afterAll(() => client.quit());

let storeCount = 0;
const prefix = () => `test-${process.pid}-${storeCount++}:`;

describeStoreContract('RedisStore', (clock) => new RedisStore({ client, clock, prefix: prefix() }));

describe('RedisStore', () => {
  closeBuckets();
  let server: RedisServer;
  let redis: Redis;
  beforeAll(async () => {
    server = await startRedis();
    redis = new Redis(server.url);
  });
  afterAll(async () => {
    redis.disconnect();
    await server.stop();
  });
  beforeEach(() => redis.flushall());

  const buckets = (options: Partial<RedisStoreOptions> = {}) =>
    new BucketService(new RedisStore({ client: redis, ...options }));
  const HOURLY = { name: 'hourly', capacity: 20, refill: 20, unit: 'hours' } as const;
  /** Returns how often a command ran since the last `CONFIG RESETSTAT`. */
  const calls = async (command: string) =>
    Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await redis.info('commandstats'))?.[1] ?? 0);

  it('batches the decisions of one turn of the event loop', async () => {
    const service = buckets();
    await service.bucket(HOURLY, 'first').decide();
    await redis.config('RESETSTAT');
    await Promise.all(Array.from({ length: 30 }, (_, i) => service.bucket(HOURLY, `key ${i % 10}`).decide()));
    expect(await calls('evalsha')).toBe(1);
    await Promise.all(Array.from({ length: 1000 }, () => service.bucket(HOURLY, 'key').decide()));
    expect(await calls('evalsha')).toBe(1 + Math.ceil(1000 / 32));
  });

  it('sends decisions individually with `batch: false`', async () => {
    const service = buckets({ batch: false });
    await service.bucket(HOURLY, 'first').decide();
    await redis.config('RESETSTAT');
    await Promise.all(Array.from({ length: 10 }, () => service.bucket(HOURLY, 'key').decide()));
    expect(await calls('evalsha')).toBe(10);
  });

  it.each([true, false])('admits exactly 20 of 1,000 concurrent requests (batch: %p)', async (batch) => {
    const bucket = buckets({ batch }).bucket(HOURLY, 'key');
    const answers = await Promise.all(Array.from({ length: 1000 }, () => bucket.tryConsume()));
    expect(answers.filter((allowed) => allowed).length).toBe(20);
  });

  it.each<[string, (record: (verb: Verb) => void) => RedisStore]>([
    [
      'a subclass',
      (record) =>
        new (class extends RedisStore {
          override run(request: StoreRequest) {
            record(request.verb);
            return super.run(request);
          }
        })({ client: redis }),
    ],
    [
      'a test',
      (record) => {
        const store = new RedisStore({ client: redis });
        const { run } = store;
        store.run = (request) => {
          record(request.verb);
          return run.call(store, request);
        };
        return store;
      },
    ],
  ])('is called by the module through `run` if it has been replaced by %s', async (_, replaced) => {
    const verbs: Verb[] = [];
    const store = replaced((verb) => verbs.push(verb));
    const opened = await openBuckets({ store, failure: { timeout: '5s' } });
    const bucket = opened.buckets.bucket(HOURLY, 'key');
    expect(await bucket.decide()).toMatchObject({ allowed: true, source: 'store' });
    await bucket.charge(1);
    expect(verbs).toEqual(['take', 'charge']);
    expect(Math.floor(await bucket.available())).toBe(18);
  });

  it('writes nothing on a denial or an estimate', async () => {
    const bucket = buckets().bucket(HOURLY, 'key');
    await bucket.charge(20);
    await redis.config('RESETSTAT');
    const before = await redis.info('persistence');
    for (let i = 0; i < 10; i++) {
      expect(await bucket.tryConsume()).toBe(false);
      await bucket.estimate();
      await bucket.available();
      await bucket.consumeUpTo(5);
    }
    await expect(bucket.consume(1, { maxWait: 1 })).rejects.toThrow('Too Many Requests');
    expect(await calls('set')).toBe(0);
    const changes = /rdb_changes_since_last_save:\d+/;
    expect(changes.exec(await redis.info('persistence'))?.[0]).toBe(changes.exec(before)?.[0]);
  });

  it('expires a key when its bucket is full and unblocked', async () => {
    const bucket = buckets().bucket({ ...HOURLY, block: '5h' }, 'key');
    for (const n of [1, 4]) {
      const { resetAfter } = await bucket.decide(n);
      const ttl = await redis.pttl((await redis.keys('*'))[0]);
      expect(ttl).toBeLessThanOrEqual(resetAfter);
      expect(ttl).toBeGreaterThan(resetAfter - 2000);
    }
    expect((await bucket.decide(18)).resetAfter).toBe(5 * 3_600_000);
    expect(await redis.pttl((await redis.keys('*'))[0])).toBeGreaterThan(5 * 3_600_000 - 2000);
    await bucket.reset();
    expect(await redis.keys('*')).toEqual([]);
  });

  it('sets a TTL of at least a minute with an injected clock', async () => {
    const service = buckets({ clock: new FakeClock() });
    await service.bucket({ capacity: 1, refill: 1000 }, 'key').decide();
    const [key] = await redis.keys('*');
    expect(await redis.pttl(key)).toBeGreaterThan(50_000);
  });

  it('sets no TTL on a bucket without refill, and deletes it when it is full', async () => {
    const service = buckets();
    await service.bucket({ name: 'pool', capacity: 3, refill: 0 }, 'key').decide();
    const [pool] = await redis.keys('*pool*');
    expect(await redis.pttl(pool)).toBe(-1);
    await service.bucket({ name: 'pool', capacity: 3, refill: 0 }, 'key').put();
    expect(await redis.keys('*pool*')).toEqual([]);
  });

  it('recovers from SCRIPT FLUSH while calls are in flight', async () => {
    const bucket = buckets({ batch: false }).bucket({ name: 'many', capacity: 300, refill: 1, unit: 'days' }, 'key');
    const answers: Promise<boolean>[] = [];
    for (let i = 0; i < 400; i++) {
      if (i % 20 === 0) void redis.script('FLUSH');
      answers.push(bucket.tryConsume());
      if (i % 7 === 0) await new Promise(setImmediate);
    }
    expect((await Promise.all(answers)).filter((allowed) => allowed).length).toBe(300);
    expect(await calls('eval')).toBeGreaterThan(1);
  });

  it('uses short, readable and unambiguous key names', async () => {
    const service = buckets();
    const readable = ['203.0.113.7', '2001:db8::/56', 'user@example.org'];
    const escaped = [
      '{a}',
      'a}:b',
      '\n',
      '\r\nFLUSHALL\r\n',
      '__proto__x{',
      ' ',
      '',
      'x'.repeat(10_000),
      'ü',
      '%',
      '😀',
    ];
    for (const key of [...readable, ...escaped.filter((key) => key !== ''), '__proto__']) {
      await service.bucket(HOURLY, key).decide();
    }
    const keys = await redis.keys('*');
    expect(keys.length).toBe(readable.length + escaped.length);
    for (const key of keys) {
      expect(key).toMatch(/^rl:\{[\x21-\x7a|~]{1,64}\}:hourly:[\w-]{7}$/);
      expect(key.length).toBeLessThan(100);
    }
    for (const key of [...readable, '__proto__']) expect(keys.some((name) => name.includes(`{${key}}`))).toBe(true);
  });

  it('hashes user keys with `hashKeys`', async () => {
    const service = buckets({ hashKeys: true });
    await service.bucket(HOURLY, '203.0.113.7').decide();
    expect(await redis.keys('*')).toEqual([expect.stringMatching(/^rl:\{%[\w-]{43}\}:hourly:/)]);
  });

  it('shares buckets and notifications under the `keyPrefix` of a connection', async () => {
    const prefixed = new Redis(server.url, { keyPrefix: 'app:' });
    const stores = [prefixed, prefixed.duplicate()].map((connection) => new RedisStore({ client: connection }));
    const pool = { name: 'pool', capacity: 1, refill: 0 };
    const [one, other] = stores.map((store) => new BucketService(store).bucket(pool, 'key'));
    await one.tryConsume();
    expect(await redis.keys('*')).toEqual([expect.stringMatching(/^app:rl:\{key\}:pool:/)]);
    let notified = false;
    const watching = one.watch().then(() => {
      notified = true;
    });
    while ((await redis.pubsub('CHANNELS')).length === 0) await one.available();
    expect(notified).toBe(false);
    await other.put();
    await watching;
    for (const store of stores) store.close();
    prefixed.disconnect();
    (stores[1] as unknown as { port: { client: Redis } }).port.client.disconnect();
  });

  it('supports `stringNumbers` and RESP3 connections', async () => {
    for (const options of [{ stringNumbers: true }, { protocol: 3 as const }]) {
      const connection = new Redis(server.url, options);
      const bucket = buckets({ client: connection }).bucket(HOURLY, `key for ${JSON.stringify(options)}`);
      expect(await bucket.decide(2.5)).toMatchObject({ allowed: true, remaining: 17.5 });
      expect(await bucket.decide(18)).toMatchObject({ allowed: false, limit: 20 });
      connection.disconnect();
    }
  });

  it('decides requests with many buckets and limits', async () => {
    const limits = Array.from({ length: 40 }, (_, i) => ({ capacity: i + 1, refill: 1, unit: 'days' as const }));
    const wanted = Array.from({ length: 60 }, (_, i) => ({ policy: { name: `p${i}`, limits }, key: 'key' }));
    const service = buckets();
    const [first, second] = await Promise.all([service.decideAll(wanted), service.decideAll(wanted)]);
    expect(first.allowed).toBe(true);
    expect(first.limits.length).toBe(2400);
    expect(second.allowed).toBe(false);
  });

  describe.each([
    ['a Redis list', (key: string) => redis.rpush(key, 'a', 'b')],
    ['an empty string', (key: string) => redis.set(key, '')],
    ['a word', (key: string) => redis.set(key, 'hello')],
    ['a single byte', (key: string) => redis.set(key, '\x05')],
    ['a truncated MessagePack array', (key: string) => redis.set(key, Buffer.from([0x91, 0x01]))],
    [
      'a MessagePack array of strings',
      (key: string) => redis.set(key, Buffer.from([0x94, 0xa1, 97, 0xa1, 97, 0xa1, 97, 0xa1, 97])),
    ],
    ['random bytes', (key: string) => redis.set(key, Buffer.from([0xdc, 0xff, 0xff, 0x00, 0xc1]))],
  ])('if a key holds %s', (_, corrupt) => {
    it.each(['bucket', 'window'])('rejects requests for that %s, and answers all others', async (kind) => {
      const service = buckets();
      const policy = kind === 'bucket' ? HOURLY : { name: 'hourly', maxRequest: 5, unit: 'hours' as const };
      const bad = service.bucket(policy, 'bad');
      await bad.decide();
      const [key] = await redis.keys('*');
      await redis.del(key);
      await corrupt(key);
      const good = service.bucket(policy, 'good');
      const [badResult, goodResult] = await Promise.allSettled([bad.decide(), good.decide()]);
      expect(goodResult).toMatchObject({ status: 'fulfilled', value: { allowed: true } });
      expect(badResult.status).toBe('rejected');
      expect((badResult as PromiseRejectedResult).reason).toBeInstanceOf(RateLimitStoreError);
      expect(await redis.exists(key)).toBe(1);
    });
  });

  it('closes the connection that it opened, but not an injected one', async () => {
    const own = await RedisStore.connect(server.url);
    const connection = (own as unknown as { port: { client: Redis } }).port.client;
    const ended = new Promise((resolve) => connection.once('end', resolve));
    await own.close();
    await ended;
    await expect(new BucketService(own).bucket(HOURLY, 'key').decide()).rejects.toThrow(RateLimitStoreError);

    const injected = await RedisStore.connect(redis);
    await injected.close();
    expect(await redis.ping()).toBe('PONG');
    expect(await new BucketService(injected).bucket(HOURLY, 'key').tryConsume()).toBe(true);
  });

  it('never admits more than the limit across four processes', async () => {
    // In node_modules, so that its imports resolve.
    const script = join(process.cwd(), 'node_modules', `.hammer-${process.pid}.mjs`);
    try {
      await compile('test/support/hammer.ts', script);
      const processes = await Promise.all(
        Array.from({ length: 4 }, () => promisify(execFile)(process.execPath, [script, server.url, 'hammer:', '1000'])),
      );
      const runs = processes.map(({ stdout }) => JSON.parse(stdout) as Record<string, number>);
      const from = Math.min(...runs.map(({ started }) => started));
      const to = Math.max(...runs.map(({ ended }) => ended));
      const taken = runs.reduce((sum, one) => sum + one.taken, 0);
      const requested = runs.reduce((sum, one) => sum + one.requested, 0);
      expect(requested).toBeGreaterThan(taken * 2);
      expect(taken).toBeLessThanOrEqual(50 + ((to - from + 1) * 100) / 1000);
      // No token is lost: each process kept requesting for a full second.
      expect(taken).toBeGreaterThanOrEqual(50 + 90);
    } finally {
      rmSync(script, { force: true });
    }
  });
});
