import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { BucketService, type EffectMessage, type RateLimitStore, RateLimitStoreError } from 'nest-rate-limit';
import { type LimitOptions, parsePolicy } from '../../../src/core/policy.js';
import type { StoreRequest, Take } from '../../../src/core/request.js';
import { closeBuckets, openBuckets } from '../../support/buckets.js';
import { Random } from '../../support/random.js';
import { type RedisServer, startRedis } from '../../support/redis.js';
import { until } from '../../support/requests.js';
import { TcpProxy } from '../../support/tcp-proxy.js';

/** ms. Long enough for a busy machine. */
const TIMEOUT = 250;
const POOL = { name: 'pool', capacity: 100, refill: 0 };
const messages: EffectMessage[] = [];
const collect = (message: unknown) => messages.push(message as EffectMessage);
beforeEach(() => {
  messages.length = 0;
  subscribe('nest-rate-limit:effect', collect);
});
afterEach(() => {
  unsubscribe('nest-rate-limit:effect', collect);
});
closeBuckets();

const countOf = (event: EffectMessage['event']) =>
  messages.filter((message) => message.event === event).reduce((sum, { count }) => sum + count, 0);
/** Waits until every queued effect has been applied or dropped. */
const settled = () => until(() => countOf('queued') === countOf('applied') + countOf('dropped'));

describe('Effects behind a faulty connection to Redis', () => {
  let server: RedisServer;
  let proxy: TcpProxy;
  let store: RateLimitStore;
  let buckets: BucketService;
  /** Another process, with a connection of its own. */
  let direct: BucketService;
  let key = 0;

  beforeAll(async () => {
    server = await startRedis();
    proxy = await TcpProxy.open(server.port);
  });
  afterAll(async () => {
    await proxy.close();
    await server.kill();
  });
  beforeEach(async () => {
    proxy.repair();
    key++;
    ({ store, buckets } = await openBuckets({ store: { redis: proxy.url }, failure: { timeout: TIMEOUT } }));
    ({ buckets: direct } = await openBuckets({ store: { redis: server.url }, failure: { timeout: '5s' } }));
    await until(async () => (await bucketOf(POOL).estimate()).source === 'store', 4000, 10);
  });
  afterEach(() => proxy.repair());

  const bucketOf = (options: LimitOptions) => buckets.bucket(options, `${key}`);
  const balance = (options: LimitOptions) => direct.bucket(options, `${key}`).available();
  const takeOf = (options: LimitOptions, amount: number, mark?: number): Take => {
    return { policy: parsePolicy(options, 'pool'), key: `${key}`, amount: amount * 1000, maxWait: 0, mark };
  };
  const run = async (verb: StoreRequest['verb'], take: Take, more: Partial<StoreRequest> = {}) =>
    store.run({ verb, takes: [take], ...more });
  /** Holds whatever Redis replies, until `proxy.repair`. */
  const holdReplies = () => {
    proxy.onReply = () => 'keep';
  };
  const outcomeOf = (effect: Promise<unknown>) =>
    effect.then(
      () => 'applied',
      (error: RateLimitStoreError) => error.outcome,
    );
  /** Breaks the connection, and waits until the process has noticed. */
  const goDown = async () => {
    proxy.break();
    await until(async () => {
      await bucketOf(POOL).estimate();
      return store.health().status === 'down';
    });
  };

  it('reports whether a rejected effect may have been applied', async () => {
    const bucket = bucketOf(POOL);
    await bucket.decide(10);
    proxy.onReply = () => 'cut';
    expect(await outcomeOf(bucket.put(1))).toBe('unknown');
    proxy.repair();
    await until(async () => (await bucket.estimate()).source === 'store', 4000, 10);
    holdReplies();
    expect(await outcomeOf(bucket.put(1))).toBe('unknown');
    proxy.repair();
    await goDown();
    expect(await outcomeOf(bucket.put(1))).toBe('not-applied');
    expect(await outcomeOf(bucket.charge(1))).toBe('not-applied');
    expect(await balance(POOL)).toBe(92);
    expect(messages).toEqual([]);
  });

  it('reports that a server which rejects writes has applied nothing', async () => {
    const bucket = bucketOf(POOL);
    await bucket.decide(10);
    const { Redis } = await import('ioredis');
    const client = new Redis(server.url);
    await client.config('SET', 'min-replicas-to-write', '1');
    try {
      expect(await outcomeOf(bucket.put(1))).toBe('not-applied');
      expect(await outcomeOf(bucket.charge(1))).toBe('not-applied');
    } finally {
      await client.config('SET', 'min-replicas-to-write', '0');
      client.disconnect();
    }
    expect(await balance(POOL)).toBe(90);
    expect(messages).toEqual([]);
  });

  it.each(['put', 'charge', 'reset', 'unblock', 'block'] as const)(
    'rejects a %s while the store is down',
    async (verb) => {
      const bucket = bucketOf(POOL);
      await bucket.decide(10);
      await goDown();
      const effect = verb === 'block' ? bucket.block('1m') : bucket[verb]();
      await expect(effect).rejects.toThrow(RateLimitStoreError);
      proxy.repair();
      await until(() => store.health().status === 'up');
      expect(await balance(POOL)).toBe(90);
    },
  );

  it('charges once if only the reply is late', async () => {
    holdReplies();
    expect(await outcomeOf(bucketOf(POOL).charge(40))).toBe('unknown');
    proxy.repair();
    await settled();
    expect(await balance(POOL)).toBe(60);
    expect(messages.map(({ event }) => event)).toEqual(['queued', 'applied']);
  });

  it('charges once if the command reaches Redis after its deadline', async () => {
    server.pause();
    expect(await outcomeOf(bucketOf(POOL).charge(40))).toBe('unknown');
    server.resume();
    await settled();
    expect(await balance(POOL)).toBe(60);
  });

  it('repeats a charge whose connection was lost, though it may be counted twice', async () => {
    proxy.onCommand = () => 'cut';
    expect(await outcomeOf(bucketOf(POOL).charge(40))).toBe('unknown');
    proxy.repair();
    await settled();
    expect(await balance(POOL)).toBe(60);
    proxy.onReply = () => 'cut';
    expect(await outcomeOf(bucketOf(POOL).charge(10))).toBe('unknown');
    proxy.repair();
    await settled();
    expect(await balance(POOL)).toBe(40);
  });

  it('repeats a block for its remaining time', async () => {
    proxy.onCommand = () => 'cut';
    expect(await outcomeOf(bucketOf(POOL).block('1m'))).toBe('unknown');
    proxy.repair();
    await settled();
    const { allowed, retryAfter } = await direct.bucket(POOL, `${key}`).estimate();
    expect(allowed).toBe(false);
    expect(retryAfter).toBeLessThan(60_000);
    expect(retryAfter).toBeGreaterThan(50_000);
  });

  it('repeats a block although a shorter one followed it', async () => {
    proxy.onCommand = () => 'cut';
    expect(await outcomeOf(bucketOf(POOL).block('1m'))).toBe('unknown');
    proxy.repair();
    await until(async () => (await outcomeOf(bucketOf(POOL).block('5s'))) === 'applied', 4000, 1);
    await settled();
    const { retryAfter } = await direct.bucket(POOL, `${key}`).estimate();
    expect(retryAfter).toBeGreaterThan(50_000);
  });

  it.each(['unblock', 'reset'] as const)('does not repeat a block after a later `%s`', async (verb) => {
    const bucket = bucketOf(POOL);
    await goDown();
    proxy.onCommand = () => 'cut';
    await outcomeOf(run('block', takeOf(POOL, 0), { duration: 60_000, retry: true }));
    proxy.repair();
    await until(async () => (await outcomeOf(bucket[verb]())) === 'applied', 4000, 1);
    await settled();
    await outcomeOf(bucket[verb]());
    expect((await direct.bucket(POOL, `${key}`).estimate()).allowed).toBe(true);
  });

  it.each([
    ['before the command arrives', () => (proxy.onCommand = () => 'cut')],
    ['before the reply arrives', () => (proxy.onReply = () => 'cut')],
    ['while nothing is in flight', () => proxy.break()],
  ])('refunds a marked take exactly once if the connection is lost %s', async (_, fail) => {
    for (const mark of [1, 2]) await run('take', takeOf(POOL, 10, mark));
    fail();
    await run('put', takeOf(POOL, 10, 1), { retry: true });
    proxy.repair();
    await settled();
    expect(await balance(POOL)).toBe(90);
    expect(countOf('applied')).toBe(1);
  });

  it('refunds an unmarked take at most once', async () => {
    await run('take', takeOf(POOL, 30));
    proxy.onReply = () => 'cut';
    await run('put', takeOf(POOL, 10), { retry: true });
    proxy.repair();
    await settled();
    expect(await balance(POOL)).toBe(80);
    expect(messages.at(-1)).toMatchObject({ policy: 'pool', verb: 'put', event: 'dropped', reason: 'failed' });
    await until(async () => (await bucketOf(POOL).estimate()).source === 'store', 4000, 10);
    await goDown();
    await run('put', takeOf(POOL, 10), { retry: true });
    proxy.repair();
    await settled();
    expect(await balance(POOL)).toBe(90);
  });

  it('settles everything after an outage, each charge and refund once', async () => {
    const count = 100;
    for (let mark = 0; mark < 30; mark++) await run('take', takeOf(POOL, 3, mark));
    await goDown();
    let refunded = 0;
    for (let mark = 0; mark < 30; mark++) {
      await run('put', takeOf(POOL, mark % 4, mark), { retry: true });
      refunded += mark % 4;
    }
    for (let i = 0; i < count; i++) await run('charge', takeOf(POOL, 2), { retry: true });
    expect(countOf('applied')).toBe(0);
    proxy.repair();
    await settled();
    expect(await balance(POOL)).toBe(100 - 90 + refunded - 2 * count);
    expect(countOf('dropped')).toBe(0);
  });

  it('sends the charge of a locally taken token to Redis, and its refund never', async () => {
    await goDown();
    expect((await bucketOf(POOL).decide(10)).source).toBe('fallback');
    await run('charge', takeOf(POOL, 5), { retry: true, source: 'fallback' });
    await run('put', takeOf(POOL, 5), { retry: true, source: 'fallback' });
    expect(await bucketOf(POOL).available()).toBe(90);
    proxy.repair();
    await settled();
    expect(await balance(POOL)).toBe(95);
  });

  it('releases a lease that could not be released during an outage', async () => {
    const slow = { name: 'leased', capacity: 100, refill: 1, unit: 'days' } as const;
    await bucketOf({ ...slow, lease: 20 }).decide();
    expect(Math.floor(await balance(slow))).toBe(80);
    await goDown();
    await until(() => countOf('queued') === 1);
    proxy.repair();
    await settled();
    expect(Math.floor(await balance(slow))).toBe(99);
  });

  it('never admits more than the real costs leave, whatever fails while costs are settled', async () => {
    const random = new Random(7);
    /** For each key what its requests cost, and whether one of them was charged. */
    const ledgers = Array.from({ length: 12 }, (_, i) => ({ key: `${key}-${i}`, real: 0, charged: 0 }));
    let mark = 0;
    for (let round = 0; round < 8; round++) {
      proxy.repair();
      await until(async () => (await bucketOf(POOL).estimate()).source === 'store', 4000, 5);
      const takes = ledgers.map((ledger) => ({ ledger, take: { ...takeOf(POOL, 5, mark++), key: ledger.key } }));
      for (const { take } of takes) expect((await run('take', take)).source).toBe('store');
      const fault = [() => 'cut' as const, () => 'keep' as const, () => 'pass' as const][random.between(0, 2)];
      if (random.next() < 0.5) proxy.onCommand = fault;
      else proxy.onReply = fault;
      if (round === 4) proxy.break();
      await Promise.all(
        takes.map(({ ledger, take }, i) => {
          // The first keys get refunds only.
          const cost = i < 4 ? random.between(0, 4) : random.between(0, 11);
          ledger.real += cost;
          ledger.charged += Math.max(0, cost - 5);
          const settled = { ...take, amount: Math.abs(cost - 5) * 1000 };
          return run(cost < 5 ? 'put' : 'charge', settled, { retry: true });
        }),
      );
    }
    proxy.repair();
    await settled();
    expect(messages.filter(({ event }) => event === 'dropped')).toEqual([]);
    for (const { key: name, real, charged } of ledgers) {
      const left = await direct.bucket(POOL, name).available();
      expect(left).toBeLessThanOrEqual(100 - real);
      // Only a charge whose reply was lost may count twice.
      expect(left).toBeGreaterThanOrEqual(100 - real - charged);
    }
  });
});
