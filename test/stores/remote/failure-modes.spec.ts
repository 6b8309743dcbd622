import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Redis } from 'ioredis';
import { MemoryStore, type RateLimitStore, RateLimitStoreError, RedisStore } from 'nest-rate-limit';
import type { StoreAnswer } from '../../../src/core/decision.js';
import { parsePolicy } from '../../../src/core/policy.js';
import type { StoreRequest } from '../../../src/core/request.js';
import { ServerTime } from '../../../src/stores/redis/server-time.js';
import { ResilientStore } from '../../../src/stores/remote/resilient.store.js';
import { StoreWrapper } from '../../../src/stores/remote/store-wrapper.js';
import { closeBuckets, log, openBuckets } from '../../support/buckets.js';
import { listen } from '../../support/faults.js';
import { measured } from '../../support/lag.js';
import { freePort, type RedisServer, startRedis } from '../../support/redis.js';
import { until } from '../../support/requests.js';

const POOL = { name: 'pool', capacity: 10, refill: 0 };
const cleanups: (() => unknown)[] = [];
closeBuckets();
afterEach(async () => {
  jest.restoreAllMocks();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await sleep(20); // connections close asynchronously
});

async function server(args: readonly string[] = [], port?: number): Promise<RedisServer> {
  const started = await startRedis({ args, port });
  cleanups.push(() => started.kill());
  return started;
}

function client(url: string, options = {}): Redis {
  const redis = new Redis(url, { retryStrategy: () => 20, ...options });
  redis.on('error', () => {});
  cleanups.push(() => redis.disconnect());
  return redis;
}

const sourceOf = async (answer: Promise<{ source: string }>) => (await answer).source;

describe('RedisStore and late takes', () => {
  it('takes nothing for calls on an injected connection from before Redis started', async () => {
    const port = await freePort();
    const own = client(`redis://127.0.0.1:${port}`); // with an offline queue
    const { buckets, store } = await openBuckets({ store: { redis: own } });
    const bucket = buckets.bucket(POOL, 'key');
    for (let i = 0; i < 3; i++) expect(await sourceOf(bucket.decide())).toBe('fallback');
    const { url } = await server([], port);
    await until(() => store.health().status === 'up' && own.status === 'ready');
    await until(async () => (await sourceOf(bucket.estimate())) === 'store');
    expect(await bucket.available()).toBe(10);
    expect(await client(url).keys('*')).toEqual([]);
    expect(await sourceOf(bucket.decide())).toBe('store');
    expect(await bucket.available()).toBe(9);
  });

  it('takes nothing for calls in flight on an injected connection when Redis is paused, killed and restarted', async () => {
    const first = await server();
    const own = client(first.url, { maxRetriesPerRequest: null });
    const { buckets } = await openBuckets({ store: { redis: own } });
    const bucket = buckets.bucket(POOL, 'key');
    await until(async () => (await sourceOf(bucket.estimate())) === 'store');
    expect(await sourceOf(bucket.decide())).toBe('store');
    first.pause();
    await Promise.all(Array.from({ length: 5 }, async () => expect(await sourceOf(bucket.decide())).toBe('fallback')));
    await first.kill();
    await server([], first.port);
    await until(async () => (await sourceOf(bucket.estimate())) === 'store');
    expect(await bucket.available()).toBe(10);
  });

  it('makes no late takes during consecutive pauses', async () => {
    const redis = await server();
    const own = client(redis.url);
    const patient = new RedisStore({ client: own });
    const resilient = new ResilientStore(new RedisStore({ client: own, timeout: 50 }), FAILURE);
    const bucket = { policy: parsePolicy(POOL, 'pool'), key: 'key', maxWait: 0 };
    const run = async (verb: 'take' | 'estimate', store: RateLimitStore = resilient) =>
      store.run({ verb, takes: [{ ...bucket, amount: verb === 'take' ? 1000 : 0 }] });
    expect((await run('take', patient)).taken).toBe(1);
    for (let i = 0; i < 3; i++) {
      redis.pause();
      expect((await run('take')).source).toBe('fallback');
      await sleep(150);
      redis.resume();
      await until(async () => (await run('estimate')).source === 'store');
    }
    expect((await run('estimate', patient)).balance).toBe(9);
  });

  it.each(['its own', 'an injected'])(
    'makes no late takes under load with pauses, on %s connection',
    async (connection) => {
      const redis = await server();
      const { buckets } = await openBuckets({
        store: { redis: connection === 'its own' ? redis.url : client(redis.url) },
      });
      const bucket = buckets.bucket({ ...POOL, capacity: 1e9 }, 'key');
      let reported = 0;
      let done = false;
      const callers = Array.from({ length: 16 }, async () => {
        while (!done) {
          if ((await sourceOf(bucket.decide())) === 'store') reported++;
          await sleep(1);
        }
      });
      let longPauses = 0;
      for (const ms of [30, 70, 20, 120]) {
        await sleep(50 + ms);
        redis.pause();
        const start = performance.now();
        await sleep(ms);
        redis.resume();
        // On a busy machine, others are long, too.
        if (performance.now() - start > 40) longPauses++;
      }
      done = true;
      await Promise.all(callers);
      await until(async () => (await sourceOf(bucket.estimate())) === 'store');
      const taken = 1e9 - (await bucket.available());
      // Takes that Redis executed in time but answered too late stay taken: at most the calls in flight in each pause that
      // is about as long as the deadline. If Redis executed late takes, there would be 48, not 32.
      expect(taken).toBeGreaterThanOrEqual(reported);
      expect(taken - reported).toBeLessThanOrEqual(16 * longPauses);
    },
  );

  it('estimates the server time from both ends of each round trip', () => {
    const time = new ServerTime();
    expect(time.at(1000)).toBe(0); // without a sample, every deadline has passed
    time.observe(500_000, 0, 10_000); // a slow reply: the server time may be anywhere in between
    expect(time.at(0)).toBe(490_000);
    time.observe(510_000, 10_500, 10_502);
    expect(time.at(0)).toBe(499_498);
    time.observe(530_000, 20_000, 31_000); // slow again: no better estimate
    expect(time.at(0)).toBe(499_498);
    time.observe(500_000, 32_000, 32_002); // the server's clock was set back
    expect(time.at(0)).toBe(468_000);
  });
});

const FAILURE = { mode: 'local', timeout: 50, instances: 1 } as const;

/** A MemoryStore behind a scripted response. */
class StoreDouble extends StoreWrapper {
  readonly requests: StoreRequest[] = [];
  respond: (request: StoreRequest) => Promise<StoreAnswer> = async (request) => this.store.run(request);

  constructor(readonly memory = new MemoryStore()) {
    super(memory);
  }

  override run(request: StoreRequest): Promise<StoreAnswer> {
    this.requests.push(request);
    return this.respond(request);
  }

  fail(scope: 'store' | 'bucket' | 'write' = 'store'): void {
    this.respond = async () => {
      throw new RateLimitStoreError('simulated failure', scope);
    };
  }

  recover(): void {
    this.respond = async (request) => this.store.run(request);
  }
}

function resilient(options: Partial<ConstructorParameters<typeof ResilientStore>[1]> = {}) {
  const double = new StoreDouble();
  const store = new ResilientStore(double, { ...FAILURE, ...options });
  cleanups.push(() => store.close());
  const policy = parsePolicy(POOL, 'pool');
  const run = async (verb: StoreRequest['verb'], more: Partial<StoreRequest> = {}, amount = 1000) =>
    store.run({ verb, takes: [{ policy, key: 'key', amount, maxWait: 0 }], ...more });
  return { double, store, run, policy };
}

describe('ResilientStore in failure mode `local`', () => {
  it('divides the limits by `failure.instances`', async () => {
    const { double, run } = resilient({ instances: 4 });
    double.fail();
    const allowed = [];
    for (let i = 0; i < 4; i++) allowed.push((await run('take')).allowed);
    expect(allowed).toEqual([true, true, false, false]);
    expect((await run('take')).limit).toBe(2.5);
  });

  it('keeps its local buckets when the store recovers', async () => {
    const health: string[] = [];
    const { double, run } = resilient({ onHealth: ({ status }) => health.push(status) });
    double.fail();
    for (let i = 0; i < 10; i++) expect((await run('take')).allowed).toBe(true);
    expect((await run('take')).allowed).toBe(false);
    double.recover();
    await until(async () => (await run('take')).source === 'store');
    double.fail();
    expect(await run('take')).toMatchObject({ allowed: false, source: 'fallback' });
    expect(health).toEqual(['down', 'up']);
  });

  it('keeps its local buckets after failures that are too few for an outage', async () => {
    const { double, run } = resilient();
    double.fail();
    for (let i = 0; i < 4; i++) await run('take');
    double.recover();
    await run('take');
    double.fail();
    expect(await run('take')).toMatchObject({ source: 'fallback', remaining: 5 });
  });

  it('keeps its local buckets while a full store still answers reads', async () => {
    const { double, store, run } = resilient();
    double.respond = async (request) => {
      if (request.verb !== 'estimate') throw new RateLimitStoreError('OOM', 'write');
      return double.memory.run(request);
    };
    for (let i = 0; i < 10; i++) {
      await run('take');
      await run('estimate');
    }
    expect(store.health()).toMatchObject({ status: 'down', error: { message: 'OOM' } });
    expect(JSON.parse(JSON.stringify(store.health().error))).toEqual({
      name: 'RateLimitStoreError',
      message: 'OOM',
      scope: 'write',
      outcome: 'not-applied',
    });
    const probes = () => double.requests.filter(({ verb }) => verb === 'charge').length;
    await until(() => probes() === 2);
    expect(store.health().status).toBe('down');
    expect(await run('take')).toMatchObject({ allowed: false, source: 'fallback' });
    double.recover();
    await until(() => store.health().status === 'up');
    expect((await run('take')).source).toBe('store');
  });
});

describe('ResilientStore', () => {
  it('prefers the failure mode of the policy, and applies the strictest of several', async () => {
    const { double, store } = resilient();
    double.fail();
    const take = (name: string, onStoreError?: 'local' | 'open' | 'closed') => ({
      policy: parsePolicy({ ...POOL, name }, name),
      key: 'key',
      amount: 1000,
      maxWait: 0,
      onStoreError,
    });
    const run = async (...takes: ReturnType<typeof take>[]) => store.run({ verb: 'take', takes });
    expect((await run(take('a'))).source).toBe('fallback');
    expect((await run(take('a', 'open'))).source).toBe('open');
    expect((await run(take('a', 'open'), take('b'))).source).toBe('fallback');
    await expect(run(take('a', 'open'), take('b', 'closed'))).rejects.toThrow('simulated failure');
    await expect(run(take('a', 'closed'))).rejects.toBeInstanceOf(RateLimitStoreError);
  });

  it.each(['local', 'open'] as const)('rejects effects in failure mode `%s`, and decides takes', async (mode) => {
    const { double, run, policy } = resilient({ mode });
    double.fail('write');
    for (const verb of ['put', 'charge', 'cancel', 'reset', 'block', 'unblock', 'replace'] as const) {
      const effect = run(verb, { duration: 1000, to: policy, strategy: 'as-is', actAt: [0] });
      await expect(effect).rejects.toThrow(RateLimitStoreError);
    }
    const source = mode === 'local' ? 'fallback' : 'open';
    for (const verb of ['take', 'takeUpTo', 'estimate'] as const) expect((await run(verb)).source).toBe(source);
  });

  it('does not count an unreadable bucket as a store failure, and reports it once', async () => {
    const reported: string[] = [];
    const { double, store, run } = resilient({ onUnreadable: ({ message }) => reported.push(message) });
    double.fail('bucket');
    for (let i = 0; i < 8; i++) expect((await run('take')).source).toBe('fallback');
    expect(store.health()).toEqual({ status: 'up' });
    expect(reported).toEqual(['simulated failure']);
  });

  it('cancels a reservation that arrived too late', async () => {
    const { double, store } = resilient();
    const policy = parsePolicy({ name: 'queue', capacity: 1, refill: 1 }, 'queue');
    const take = { policy, key: 'key', amount: 1000, maxWait: 5000 };
    await store.run({ verb: 'take', takes: [take] });
    double.respond = async (request) => {
      await sleep(80);
      return double.memory.run(request);
    };
    expect((await store.run({ verb: 'take', takes: [take] })).source).toBe('fallback');
    await until(() => double.requests.at(-1)?.verb === 'cancel');
    await sleep(100);
    double.recover();
    expect((await store.run({ verb: 'estimate', takes: [{ ...take, amount: 0 }] })).balance).toBeGreaterThanOrEqual(0);
  });

  it('refunds the tokens of a `takeUpTo` that arrived too late', async () => {
    const { double, run } = resilient();
    double.respond = async (request) => {
      const answer = double.memory.run(request);
      await sleep(80);
      return answer;
    };
    expect((await run('takeUpTo', {}, 20_000)).source).toBe('fallback');
    await until(() => double.requests.at(-1)?.verb === 'put');
    double.recover();
    expect((await run('estimate', {}, 0)).balance).toBe(POOL.capacity);
  });
});

describe('ResilientStore deadlines and probes', () => {
  it.each([-3_600_000, 3_600_000])('keeps its timing when the clock is adjusted by %d ms', async (step) => {
    const { double, store, run } = resilient();
    const { now } = Date;
    double.respond = () => new Promise(() => {});
    const { value: answers, ms } = await measured(() => {
      const pending = Array.from({ length: 6 }, () => run('take'));
      jest.spyOn(Date, 'now').mockImplementation(() => now() + step);
      return Promise.all(pending);
    });
    for (const { source } of answers) expect(source).toBe('fallback');
    expect(ms).toBeLessThan(150);
    expect(store.health().status).toBe('down');
    double.recover();
    const recovery = await measured(() => until(async () => (await run('take')).source === 'store'));
    expect(ms + recovery.ms).toBeLessThan(1500);
  });

  it('detects recovery without requests', async () => {
    const { double, store, run } = resilient();
    double.fail();
    for (let i = 0; i < 5; i++) await run('take');
    double.recover();
    double.requests.length = 0;
    await until(() => store.health().status === 'up');
    expect(double.requests.map(({ verb }) => verb)).toEqual(['charge']);
  });

  it('probes an unavailable store twice a second at most', async () => {
    const { double, run } = resilient();
    double.fail();
    for (let i = 0; i < 5; i++) await run('take');
    double.requests.length = 0;
    const end = performance.now() + 1200;
    while (performance.now() < end) {
      await run('take');
      await sleep(5);
    }
    expect(double.requests.length).toBeGreaterThanOrEqual(2);
    expect(double.requests.length).toBeLessThanOrEqual(3);
  });
});

describe('evidence of an outage', () => {
  const unavailable = /^error: Rate limit store unavailable; using failure mode "local": /;

  it('is counted once per command, however many requests it carries', async () => {
    const redis = await server();
    const { buckets, store } = await openBuckets({ store: { redis: redis.url } });
    const bucket = buckets.bucket({ ...POOL, capacity: 1000 }, 'key');
    await until(async () => (await sourceOf(bucket.estimate())) === 'store');
    redis.pause();
    // Four commands of up to 32 requests.
    const answers = await Promise.all(Array.from({ length: 100 }, () => sourceOf(bucket.decide())));
    expect(new Set(answers)).toEqual(new Set(['fallback']));
    expect(store.health().status).toBe('up');
    await until(async () => {
      await bucket.decide();
      return store.health().status === 'down';
    });
    expect(log.lines).toEqual([expect.stringMatching(unavailable)]);
    redis.resume();
  });

  it('is a lost connection', async () => {
    const redis = await server();
    const { buckets, store } = await openBuckets({ store: { redis: redis.url } });
    const bucket = buckets.bucket(POOL, 'key');
    await until(async () => (await sourceOf(bucket.estimate())) === 'store');
    await redis.kill();
    for (let i = 0; i < 5; i++) await bucket.decide();
    expect(store.health().status).toBe('down');
  });

  it('is no slow answer, as long as bytes arrive', async () => {
    const redis = await server();
    const port = await freePort();
    // Delays replies by more than the deadline.
    const proxy = createServer((own) => {
      const target = connect(redis.port, '127.0.0.1');
      own.on('error', () => {}).on('close', () => target.destroy());
      target.on('error', () => {}).on('close', () => own.destroy());
      own.pipe(target);
      target.on('data', (data) => void sleep(ready ? 80 : 0).then(() => own.write(data)));
    });
    let ready = false;
    await new Promise<void>((resolve) => proxy.listen(port, '127.0.0.1', resolve));
    cleanups.push(() => proxy.close());
    const { buckets, store } = await openBuckets({ store: { redis: `redis://127.0.0.1:${port}` } });
    const bucket = buckets.bucket({ ...POOL, capacity: 1000 }, 'key');
    await until(async () => (await sourceOf(bucket.estimate())) === 'store');
    ready = true;
    // Each is answered at its deadline; before that the reply to an earlier one arrives.
    for (let i = 0; i < 12; i++) {
      const answer = sourceOf(bucket.decide());
      await sleep(15);
      const next = sourceOf(bucket.decide());
      expect([await answer, await next]).toEqual(['fallback', 'fallback']);
    }
    expect(store.health().status).toBe('up');
    expect(log.lines).toEqual([]);
    ready = false;
    await until(async () => (await sourceOf(bucket.decide())) === 'store');
  });
});

describe('RedisStore with a Redis that rejects writes', () => {
  it.each<[string, string[], string[]]>([
    ['the ACL', ['ACL', 'SETUSER', 'default', '-set'], ['ACL', 'SETUSER', 'default', '+set']],
    ['an ACL of keys', ['ACL', 'SETUSER', 'default', 'resetkeys', '%R~*'], ['ACL', 'SETUSER', 'default', 'allkeys']],
    ['its memory', ['CONFIG', 'SET', 'maxmemory', '1'], ['CONFIG', 'SET', 'maxmemory', '0']],
    ['its role', ['REPLICAOF', '127.0.0.1', '1'], ['REPLICAOF', 'NO', 'ONE']],
    [
      'missing replicas',
      ['CONFIG', 'SET', 'min-replicas-to-write', '1'],
      ['CONFIG', 'SET', 'min-replicas-to-write', '0'],
    ],
  ])(
    'does not refill its local buckets, and recovers without requests: %s',
    async (_, [reject, ...args], [accept, ...undo]) => {
      const redis = await server();
      const admin = client(redis.url);
      const { buckets, store } = await openBuckets({ store: { redis: redis.url } });
      const bucket = buckets.bucket(POOL, 'key');
      await admin.call(reject, ...args);
      let admitted = 0;
      const end = performance.now() + 1300;
      while (performance.now() < end) {
        if (await bucket.tryConsume()) admitted++;
        await bucket.estimate();
        await sleep(2);
      }
      expect(admitted).toBe(10);
      expect(store.health()).toMatchObject({ status: 'down', error: { scope: 'write' } });
      expect(log.lines).toEqual([expect.stringMatching(/^error: Rate limit store unavailable; using failure mode /)]);
      await admin.call(accept, ...undo);
      await until(() => store.health().status === 'up');
      expect((await bucket.decide()).source).toBe('store');
    },
  );

  it('applies replacePolicy completely or not at all', async () => {
    const redis = await server();
    const admin = client(redis.url);
    const { buckets } = await openBuckets({ store: { redis: redis.url } });
    const bucket = buckets.bucket(POOL, 'key');
    await bucket.tryConsume(7);
    await admin.config('SET', 'maxmemory', '1');
    const larger = { ...POOL, capacity: 20 };
    await expect(bucket.replacePolicy(larger, 'as-is')).rejects.toThrow(/^Redis rejects writes: .*OOM/);
    await admin.config('SET', 'maxmemory', '0');
    await until(async () => (await sourceOf(bucket.decide())) === 'store');
    expect(await bucket.available()).toBe(2);
    expect(await buckets.bucket(larger, 'key').available()).toBe(20);
  });
});

describe('Bucket.watch', () => {
  it('continues after Redis restarts', async () => {
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

describe('RateLimitModule startup', () => {
  const silent = async () => {
    const port = await freePort();
    cleanups.push(await listen(port, () => {}));
    return `redis://127.0.0.1:${port}`;
  };

  it('takes at most two seconds if Redis accepts connections but never replies', async () => {
    const url = await silent();
    const { value, ms } = await measured(() => openBuckets({ store: { redis: url } }));
    const { buckets, store } = value;
    expect(ms).toBeLessThan(2500);
    expect(store.health()).toMatchObject({ status: 'down', error: { message: expect.stringMatching(/not ready/) } });
    expect(await sourceOf(buckets.bucket(POOL, 'key').decide())).toBe('fallback');
  });

  it('warns immediately if Redis is unavailable, with its address and the cause', async () => {
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
      `${redis} ${address} is not ready: connect ECONNREFUSED ${address}. Using failure mode "local" until it is`,
      expect.stringMatching(`^${redis} 127.0.0.1:${locked} is not ready: WRONGPASS `),
      expect.stringMatching(`^${redis} 127.0.0.1:${locked} is not ready: NOAUTH `),
      expect.stringMatching(`^${redis} /none.sock is not ready: connect ENOENT /none.sock`),
      expect.stringMatching(
        `^warn: Redis master "main" \\(Sentinels ${address}\\) is not ready: All sentinels are unreachable`,
      ),
      expect.stringMatching(/^warn: Redis at 127.0.0.1:\d+ is not ready: (conn|Socket timeout)/),
    ]);
    expect(log.lines.join()).not.toContain('secret');
  });

  it('logs the cause when it stops calling Redis', async () => {
    const port = await freePort();
    const { buckets, store } = await openBuckets({ store: { redis: `redis://127.0.0.1:${port}` } });
    const bucket = buckets.bucket(POOL, 'key');
    for (let i = 0; i < 5; i++) expect(await sourceOf(bucket.decide())).toBe('fallback');
    const cause = `Redis at 127.0.0.1:${port} is not ready: connect ECONNREFUSED 127.0.0.1:${port}`;
    expect(log.lines.slice(1)).toEqual([`error: Rate limit store unavailable; using failure mode "local": ${cause}`]);
    expect(store.health().error?.message).toBe(cause);
  });

  it('fails with the cause if `mustConnect` is set and Redis is unavailable', async () => {
    const port = await freePort();
    const url = `redis://127.0.0.1:${port}`;
    const message = `Cannot connect to Redis at 127.0.0.1:${port}: connect ECONNREFUSED 127.0.0.1:${port}`;
    const start = (redis: string | Redis) => openBuckets({ store: { redis, mustConnect: true } });
    await expect(start(url)).rejects.toThrow(message);
    await expect(start(client(url, { maxRetriesPerRequest: null }))).rejects.toThrow(message);
    await expect(start(client(await silent()))).rejects.toThrow(
      /^Cannot connect to Redis at 127.0.0.1:\d+: no reply within 2000/,
    );
    const { port: locked } = await server(['--requirepass', 'good']);
    await expect(start(`redis://:bad@127.0.0.1:${locked}`)).rejects.toThrow(
      `Cannot connect to Redis at 127.0.0.1:${locked}: WRONGPASS `,
    );
    await server([], port);
    const { store } = await start(url);
    expect(store.health()).toEqual({ status: 'up' });
  });

  it('warns if the `timeout` of a RedisStore exceeds the deadline', async () => {
    const { url } = await server();
    await openBuckets({ store: new RedisStore({ client: client(url) }) });
    expect(log.lines).toEqual([
      'warn: `timeout` of the RedisStore exceeds `failure.timeout`: requests that timed out may still take tokens. Set it to 50',
    ]);
  });
});

describe('RateLimitModule shutdown', () => {
  it('closes its own connections, and leaves injected ones open', async () => {
    const { url } = await server();
    const injected = client(url);
    const connections = async () => ((await injected.client('LIST')) as string).trim().split('\n').length;
    const withOwn = await openBuckets({ store: { redis: url } });
    await withOwn.buckets.bucket(POOL, 'key').watch(1);
    const withInjected = await openBuckets({ store: { redis: injected } });
    await withInjected.buckets.bucket(POOL, 'key').watch(1);
    expect(await connections()).toBe(4);
    await withOwn.module.close();
    await withInjected.module.close();
    await until(async () => (await connections()) === 1);
    expect(injected.status).toBe('ready');
  });
});
