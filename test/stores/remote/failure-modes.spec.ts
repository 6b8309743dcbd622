import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Redis } from 'ioredis';
import { MemoryStore, RateLimitStoreError, RedisStore } from 'nest-rate-limit';
import type { StoreAnswer } from '../../../src/core/decision.js';
import { parsePolicy } from '../../../src/core/policy.js';
import type { StoreRequest } from '../../../src/core/request.js';
import { ServerTime } from '../../../src/stores/redis/server-time.js';
import { ResilientStore } from '../../../src/stores/remote/resilient.store.js';
import { StoreWrapper } from '../../../src/stores/remote/store-wrapper.js';
import { closeBuckets, log, openBuckets } from '../../support/buckets.js';
import { listen } from '../../support/faults.js';
import { freePort, type RedisServer, startRedis } from '../../support/redis.js';
import { until } from '../../support/requests.js';

const POOL = { name: 'pool', capacity: 10, refill: 0 };
const ends: (() => unknown)[] = [];
closeBuckets();
afterEach(async () => {
  jest.restoreAllMocks();
  for (const end of ends.splice(0).reverse()) await end();
  await sleep(20); // connections end a little later than they are told to
});

async function server(args: readonly string[] = [], port?: number): Promise<RedisServer> {
  const started = await startRedis({ args, port });
  ends.push(() => started.kill());
  return started;
}

function client(url: string, options = {}): Redis {
  const redis = new Redis(url, { retryStrategy: () => 20, ...options });
  redis.on('error', () => {});
  ends.push(() => redis.disconnect());
  return redis;
}

const sourceOf = async (answer: Promise<{ source: string }>) => (await answer).source;

describe('no ghost takes', () => {
  it('of what was asked on a user’s own connection before Redis was there', async () => {
    const port = await freePort();
    const own = client(`redis://127.0.0.1:${port}`); // the offline queue is on
    const { buckets, store } = await openBuckets({ store: { redis: own } });
    const bucket = buckets.bucket(POOL, 'ghost');
    for (let i = 0; i < 3; i++) expect(await sourceOf(bucket.decide())).toBe('fallback');
    const { url } = await server([], port);
    await until(() => store.health().status === 'up' && own.status === 'ready');
    await until(async () => (await sourceOf(bucket.estimate())) === 'store');
    expect(await bucket.available()).toBe(10);
    expect(await client(url).keys('*')).toEqual([]);
    expect(await sourceOf(bucket.decide())).toBe('store');
    expect(await bucket.available()).toBe(9);
  });

  it('of what is under way on a user’s own connection while Redis is paused, killed and restarted', async () => {
    const first = await server();
    const own = client(first.url, { maxRetriesPerRequest: null });
    const { buckets } = await openBuckets({ store: { redis: own } });
    const bucket = buckets.bucket(POOL, 'ghost');
    await until(async () => (await sourceOf(bucket.estimate())) === 'store');
    expect(await sourceOf(bucket.decide())).toBe('store');
    first.pause();
    await Promise.all(Array.from({ length: 5 }, async () => expect(await sourceOf(bucket.decide())).toBe('fallback')));
    await first.kill();
    await server([], first.port);
    await until(async () => (await sourceOf(bucket.estimate())) === 'store');
    expect(await bucket.available()).toBe(10);
  });

  it('of a second pause that follows a first one at once', async () => {
    const redis = await server();
    const own = client(redis.url);
    const store = new ResilientStore(new RedisStore({ client: own, timeout: 50 }), FAILURE);
    const take = { policy: parsePolicy(POOL, 'pool'), key: 'ghost', amount: 1000, maxWait: 0 };
    const ask = async (verb: StoreRequest['verb'], amount = 1000) => store.run({ verb, takes: [{ ...take, amount }] });
    expect((await ask('take')).taken).toBe(1);
    for (let i = 0; i < 3; i++) {
      redis.pause();
      expect((await ask('take')).source).toBe('fallback');
      await sleep(150);
      redis.resume();
      await until(async () => (await ask('estimate')).source === 'store');
    }
    expect((await ask('estimate', 0)).balance).toBe(9);
  });

  it.each(['own', 'the user’s'])('under load, with pauses, on %s connection', async (whose) => {
    const redis = await server();
    const { buckets } = await openBuckets({ store: { redis: whose === 'own' ? redis.url : client(redis.url) } });
    const bucket = buckets.bucket({ ...POOL, capacity: 1e9 }, 'ghost');
    let told = 0;
    let over = false;
    const callers = Array.from({ length: 16 }, async () => {
      while (!over) {
        if ((await sourceOf(bucket.decide())) === 'store') told++;
        await sleep(1);
      }
    });
    for (const ms of [30, 70, 45, 120]) {
      await sleep(50 + ms);
      redis.pause();
      await sleep(ms);
      redis.resume();
    }
    over = true;
    await Promise.all(callers);
    await until(async () => (await sourceOf(bucket.estimate())) === 'store');
    const taken = 1e9 - (await bucket.available());
    // What Redis did in time and told of too late stays taken: at most what was under way in one pause.
    expect(taken).toBeGreaterThanOrEqual(told);
    expect(taken - told).toBeLessThanOrEqual(16);
  });

  it('because what the server’s clock says is known from both sides', () => {
    const time = new ServerTime();
    expect(time.of(1000)).toBe(0); // nothing is known: everything is too late
    time.heard(500_000, 0, 10_000); // long under way: it may be anywhere between
    expect(time.of(0)).toBe(490_000);
    time.heard(510_000, 10_500, 10_502);
    expect(time.of(0)).toBe(499_498);
    time.heard(530_000, 20_000, 31_000); // long again: nothing new is learnt
    expect(time.of(0)).toBe(499_498);
    time.heard(500_000, 32_000, 32_002); // the server's clock was set back
    expect(time.of(0)).toBe(468_000);
  });
});

const FAILURE = { mode: 'local', timeout: 50, instances: 1 } as const;

/** A store in memory that does what a test tells it to. */
class Double extends StoreWrapper {
  readonly asked: StoreRequest[] = [];
  answer: (request: StoreRequest) => Promise<StoreAnswer> = async (request) => this.store.run(request);

  constructor(readonly memory = new MemoryStore()) {
    super(memory);
  }

  override run(request: StoreRequest): Promise<StoreAnswer> {
    this.asked.push(request);
    return this.answer(request);
  }

  fail(scope: 'store' | 'bucket' | 'write' = 'store'): void {
    this.answer = async () => {
      throw new RateLimitStoreError('told to fail', scope);
    };
  }

  work(): void {
    this.answer = async (request) => this.store.run(request);
  }
}

function resilient(options: Partial<ConstructorParameters<typeof ResilientStore>[1]> = {}) {
  const double = new Double();
  const store = new ResilientStore(double, { ...FAILURE, ...options });
  ends.push(() => store.close());
  const policy = parsePolicy(POOL, 'pool');
  const ask = async (verb: StoreRequest['verb'], more: Partial<StoreRequest> = {}, amount = 1000) =>
    store.run({ verb, takes: [{ policy, key: 'key', amount, maxWait: 0 }], ...more });
  return { double, store, ask, policy };
}

describe("mode 'local'", () => {
  it('divides the numbers by failure.instances', async () => {
    const { double, ask } = resilient({ instances: 4 });
    double.fail();
    const allowed = [];
    for (let i = 0; i < 4; i++) allowed.push((await ask('take')).allowed);
    expect(allowed).toEqual([true, true, false, false]);
    expect((await ask('take')).limit).toBe(2.5);
  });

  it('drops its buckets when the store is back, and not before', async () => {
    const health: string[] = [];
    const { double, ask } = resilient({ onHealth: ({ status }) => health.push(status) });
    double.fail();
    for (let i = 0; i < 10; i++) await ask('take');
    expect((await ask('take')).allowed).toBe(false);
    double.work();
    await until(async () => (await ask('take')).source === 'store');
    double.fail();
    expect((await ask('take')).allowed).toBe(true);
    expect(health).toEqual(['down', 'up']);
  });

  it('keeps them over a failure that is too short to be an outage', async () => {
    const { double, ask } = resilient();
    double.fail();
    for (let i = 0; i < 4; i++) await ask('take');
    double.work();
    await ask('take');
    double.fail();
    expect(await ask('take')).toMatchObject({ source: 'fallback', remaining: 5 });
  });

  it('keeps them while a full store answers what it need not write', async () => {
    const { double, store, ask } = resilient();
    double.answer = async (request) => {
      if (request.verb === 'take') throw new RateLimitStoreError('OOM', 'write');
      return double.memory.run(request);
    };
    for (let i = 0; i < 10; i++) {
      await ask('take');
      await ask('estimate');
    }
    expect(store.health()).toMatchObject({ status: 'down', error: { message: 'OOM' } });
    expect(JSON.parse(JSON.stringify(store.health().error))).toEqual({
      name: 'RateLimitStoreError',
      message: 'OOM',
      scope: 'write',
    });
    await sleep(600);
    expect((await ask('estimate')).source).toBe('store'); // the probe
    expect(store.health().status).toBe('down');
    expect(await ask('take')).toMatchObject({ allowed: false, source: 'fallback' });
    await sleep(600);
    double.work();
    expect((await ask('take')).source).toBe('store');
    expect(store.health().status).toBe('up');
  });
});

describe('failure modes', () => {
  it('are the policy’s where it has one, and the strictest of all', async () => {
    const { double, store } = resilient();
    double.fail();
    const take = (name: string, onStoreError?: 'local' | 'open' | 'closed') => ({
      policy: parsePolicy({ ...POOL, name }, name),
      key: 'key',
      amount: 1000,
      maxWait: 0,
      onStoreError,
    });
    const ask = async (...takes: ReturnType<typeof take>[]) => store.run({ verb: 'take', takes });
    expect((await ask(take('a'))).source).toBe('fallback');
    expect((await ask(take('a', 'open'))).source).toBe('open');
    expect((await ask(take('a', 'open'), take('b'))).source).toBe('fallback');
    await expect(ask(take('a', 'open'), take('b', 'closed'))).rejects.toThrow('told to fail');
    await expect(ask(take('a', 'closed'))).rejects.toBeInstanceOf(RateLimitStoreError);
  });

  it('let nothing that must last be done by halves', async () => {
    const { double, ask, policy } = resilient({ mode: 'open' });
    double.fail();
    for (const verb of ['reset', 'block', 'unblock', 'replace'] as const) {
      await expect(ask(verb, { duration: 1000, to: policy, strategy: 'as-is' })).rejects.toThrow(RateLimitStoreError);
    }
    for (const verb of ['put', 'charge', 'estimate'] as const) expect((await ask(verb)).source).toBe('open');
  });

  it('do not count a bucket that cannot be read against the store, and tell of it once', async () => {
    const told: string[] = [];
    const { double, store, ask } = resilient({ onUnreadable: ({ message }) => told.push(message) });
    double.fail('bucket');
    for (let i = 0; i < 8; i++) expect((await ask('take')).source).toBe('fallback');
    expect(store.health()).toEqual({ status: 'up' });
    expect(told).toEqual(['told to fail']);
  });

  it('give a place in line back that came too late', async () => {
    const { double, store } = resilient();
    const policy = parsePolicy({ name: 'line', capacity: 1, refill: 1 }, 'line');
    const take = { policy, key: 'key', amount: 1000, maxWait: 5000 };
    await store.run({ verb: 'take', takes: [take] });
    double.answer = async (request) => {
      await sleep(80);
      return double.memory.run(request);
    };
    expect((await store.run({ verb: 'take', takes: [take] })).source).toBe('fallback');
    await until(() => double.asked.at(-1)?.verb === 'cancel');
    await sleep(100);
    double.work();
    expect((await store.run({ verb: 'estimate', takes: [{ ...take, amount: 0 }] })).balance).toBeGreaterThanOrEqual(0);
  });

  it('give back as many as there were that came too late', async () => {
    const { double, ask } = resilient();
    double.answer = async (request) => {
      const answer = double.memory.run(request);
      await sleep(80);
      return answer;
    };
    expect((await ask('takeUpTo', {}, 20_000)).source).toBe('fallback');
    await until(() => double.asked.at(-1)?.verb === 'put');
    double.work();
    expect((await ask('estimate', {}, 0)).balance).toBe(POOL.capacity);
  });
});

describe('deadlines and probes', () => {
  it.each([-3_600_000, 3_600_000])('keep to their times when the clock is set by %d ms', async (step) => {
    const { double, store, ask } = resilient();
    const { now } = Date;
    double.answer = () => new Promise(() => {});
    const start = performance.now();
    const answers = Array.from({ length: 6 }, () => ask('take'));
    jest.spyOn(Date, 'now').mockImplementation(() => now() + step);
    for (const { source } of await Promise.all(answers)) expect(source).toBe('fallback');
    expect(performance.now() - start).toBeLessThan(150);
    expect(store.health().status).toBe('down');
    double.work();
    await until(async () => (await ask('take')).source === 'store');
    expect(performance.now() - start).toBeLessThan(1500);
  });

  it('find the store well again though nobody asks it', async () => {
    const { double, store, ask } = resilient();
    double.fail();
    for (let i = 0; i < 5; i++) await ask('take');
    double.work();
    double.asked.length = 0;
    await until(() => store.health().status === 'up');
    expect(double.asked.map(({ verb }) => verb)).toEqual(['estimate']);
  });

  it('ask a dead store twice a second, not more', async () => {
    const { double, ask } = resilient();
    double.fail();
    for (let i = 0; i < 5; i++) await ask('take');
    double.asked.length = 0;
    const end = performance.now() + 1200;
    while (performance.now() < end) {
      await ask('take');
      await sleep(5);
    }
    expect(double.asked.length).toBeGreaterThanOrEqual(2);
    expect(double.asked.length).toBeLessThanOrEqual(3);
  });
});

describe('a full Redis', () => {
  it('does all of replacePolicy or nothing', async () => {
    const redis = await server();
    const other = client(redis.url);
    const { buckets } = await openBuckets({ store: { redis: redis.url } });
    const bucket = buckets.bucket(POOL, 'key');
    await bucket.tryConsume(7);
    await other.config('SET', 'maxmemory', '1');
    const larger = { ...POOL, capacity: 20 };
    await expect(bucket.replacePolicy(larger, 'as-is')).rejects.toThrow(/^Redis cannot write: .*OOM/);
    await other.config('SET', 'maxmemory', '0');
    await until(async () => (await sourceOf(bucket.decide())) === 'store');
    expect(await bucket.available()).toBe(2);
    expect(await buckets.bucket(larger, 'key').available()).toBe(20);
  });
});

describe('watching', () => {
  it('goes on when Redis has been restarted', async () => {
    const first = await server();
    const { buckets } = await openBuckets({ store: { redis: first.url } });
    const bucket = buckets.bucket(POOL, 'key');
    await bucket.tryConsume(10);
    const watched = bucket.watch(1, { timeout: '5s' });
    await sleep(50);
    await first.kill();
    await server([], first.port); // empty: all buckets are full
    await watched;
  });
});

describe('starting', () => {
  const silent = async () => {
    const port = await freePort();
    ends.push(await listen(port, () => {}));
    return `redis://127.0.0.1:${port}`;
  };

  it('takes no longer than two seconds with a Redis that accepts and never answers', async () => {
    const url = await silent();
    const start = performance.now();
    const { buckets, store } = await openBuckets({ store: { redis: url } });
    expect(performance.now() - start).toBeLessThan(2500);
    expect(store.health()).toMatchObject({ status: 'down', error: { message: expect.stringMatching(/not ready/) } });
    expect(await sourceOf(buckets.bucket(POOL, 'key').decide())).toBe('fallback');
  });

  it('warns at once of a Redis that is away, and says where it was looked for and what is wrong', async () => {
    const port = await freePort();
    const { port: locked } = await server(['--requirepass', 'good']);
    const address = `127.0.0.1:${port}`;
    const sentinels = [{ host: '127.0.0.1', port }];
    const unlocked = { host: '127.0.0.1', port: locked };
    for (const redis of [
      `redis://user:secret@${address}`,
      `redis://:secret@127.0.0.1:${locked}`,
      unlocked,
      { path: '/none.sock' },
      { sentinels, name: 'main', sentinelPassword: 'secret' },
      await silent(),
    ]) {
      await openBuckets({ store: { redis } });
    }
    const redis = 'warn: Redis at';
    expect(log.lines).toEqual([
      `${redis} ${address} is not ready: connect ECONNREFUSED ${address}. Until it is, the failure mode decides`,
      expect.stringMatching(`^${redis} 127.0.0.1:${locked} is not ready: WRONGPASS `),
      expect.stringMatching(`^${redis} 127.0.0.1:${locked} is not ready: NOAUTH `),
      expect.stringMatching(`^${redis} /none.sock is not ready: connect ENOENT /none.sock`),
      expect.stringMatching(`^${redis} main, of ${address} is not ready: All sentinels are unreachable`),
      expect.stringMatching(/^warn: Redis at 127.0.0.1:\d+ is not ready: conn/),
    ]);
    expect(log.lines.join()).not.toContain('secret');
  });

  it('tells the cause, too, when it stops asking', async () => {
    const port = await freePort();
    const { buckets, store } = await openBuckets({ store: { redis: `redis://127.0.0.1:${port}` } });
    const bucket = buckets.bucket(POOL, 'key');
    for (let i = 0; i < 5; i++) expect(await sourceOf(bucket.decide())).toBe('fallback');
    const cause = `Redis at 127.0.0.1:${port} is not ready: connect ECONNREFUSED 127.0.0.1:${port}`;
    expect(log.lines.slice(1)).toEqual([`error: The store does not answer, the failure mode decides: ${cause}`]);
    expect(store.health().error?.message).toBe(cause);
  });

  it('fails without Redis if it must connect, and says why', async () => {
    const port = await freePort();
    const url = `redis://127.0.0.1:${port}`;
    const refused = `Redis at 127.0.0.1:${port} did not answer: connect ECONNREFUSED 127.0.0.1:${port}`;
    const start = (redis: string | Redis) => openBuckets({ store: { redis, mustConnect: true } });
    await expect(start(url)).rejects.toThrow(refused);
    await expect(start(client(url, { maxRetriesPerRequest: null }))).rejects.toThrow(refused);
    await expect(start(client(await silent()))).rejects.toThrow(
      /^Redis at 127.0.0.1:\d+ did not answer: silent for 2000/,
    );
    const { port: locked } = await server(['--requirepass', 'good']);
    await expect(start(`redis://:bad@127.0.0.1:${locked}`)).rejects.toThrow(
      `Redis at 127.0.0.1:${locked} did not answer: WRONGPASS `,
    );
    await server([], port);
    const { store } = await start(url);
    expect(store.health()).toEqual({ status: 'up' });
  });

  it('warns once of settings that do not suit', async () => {
    const { url } = await server();
    await openBuckets({ store: { redis: client(url, { readOnly: true }) } });
    await openBuckets({ store: new RedisStore({ client: client(url) }) });
    await openBuckets({ store: new RedisStore({ client: client(url), timeout: 50 }) });
    await openBuckets({ store: { redis: url } });
    expect(log.lines).toEqual([
      'warn: Redis connection: `readOnly` asks replicas, which cannot take tokens',
      'warn: `timeout` of the RedisStore is above `failure.timeout`: what was given up may take tokens later',
    ]);
  });
});

describe('closing', () => {
  it('ends own connections, and leaves those of others open', async () => {
    const { url } = await server();
    const other = client(url);
    const connections = async () => ((await other.client('LIST')) as string).trim().split('\n').length;
    const own = await openBuckets({ store: { redis: url } });
    await own.buckets.bucket(POOL, 'key').watch(1);
    const foreign = await openBuckets({ store: { redis: other } });
    await foreign.buckets.bucket(POOL, 'key').watch(1);
    expect(await connections()).toBe(4);
    await own.module.close();
    await foreign.module.close();
    await until(async () => (await connections()) === 1);
    expect(other.status).toBe('ready');
  });
});
