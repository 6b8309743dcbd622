import { afterAll, afterEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, Get, HttpException, type INestApplication } from '@nestjs/common';
import { Redis } from 'ioredis';
import {
  BucketService,
  type LimitOptions,
  RateLimitModule,
  type RateLimitModuleOptions,
  RateLimitStoreError,
  RedisStore,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { closeBuckets, openBuckets } from '../support/buckets.js';
import { createApp, STORES } from '../support/create-app.js';
import { redisUrl } from '../support/redis.js';
import { clockedStore, statuses, until } from '../support/requests.js';

/*
 * b3ntly's distributed-token-bucket for Go: a bucket in Redis without a refill. Callers put tokens back when done.
 */

closeBuckets();
const redis = new Redis(redisUrl());
afterAll(() => redis.quit());

const FIVE: LimitOptions = { name: 'shared', capacity: 5, refill: 0 };
const TEN: LimitOptions = { name: 'shared', capacity: 10, refill: 0 };

let clock: FakeClock;

const open = async (options: RateLimitModuleOptions) => (await openBuckets(options)).buckets;

describe.each(STORES)('Bucket in the %s store', (store) => {
  const newBucket = async (policy: LimitOptions) => {
    clock = new FakeClock();
    return (await open(clockedStore(store, clock))).bucket(policy, 'key');
  };

  it('NewBucket, Take, Put: allows tokens that were put back to be taken again', async () => {
    const bucket = await newBucket(FIVE);
    expect(await bucket.tryConsume(5)).toBe(true);
    expect(await bucket.tryConsume(5)).toBe(false);
    await bucket.put(5);
    expect(await bucket.tryConsume(5)).toBe(true);
  });

  it('Take: denies a request for more tokens than are available, and takes none', async () => {
    const bucket = await newBucket(TEN);
    expect(await bucket.tryConsume(11)).toBe(false);
    expect(await bucket.available()).toBe(10);
    const insufficient = bucket.consume(11, { maxWait: 0 });
    await expect(insufficient).rejects.toMatchObject({ status: 429, decision: { remaining: 10 } });
  });

  it('Watch: resolves when a Put makes the tokens available, and takes nothing', async () => {
    const bucket = await newBucket(TEN);
    await bucket.tryConsume(5);
    let done = false;
    const watching = bucket.watch(10).then(() => (done = true));
    await until(() => clock.sleeping === 1);
    expect(done).toBe(false);
    await bucket.put(5);
    await watching;
    expect(await bucket.available()).toBe(10); // the original's Watch takes them
  });

  it('Watch: resolves immediately if the tokens are available', async () => {
    await (await newBucket(FIVE)).watch(5);
    expect(clock.sleeping).toBe(0);
  });

  it('Watch: rejects with a TimeoutError after its timeout', async () => {
    const bucket = await newBucket(FIVE);
    await bucket.tryConsume(5);
    const watching = bucket.watch(5, { timeout: 1 });
    const ended = expect(watching).rejects.toMatchObject({ name: 'TimeoutError' });
    await until(() => clock.sleeping === 1);
    await clock.advance(1);
    await ended;
  });

  it('Cancel: rejects a Watch and clears its timer', async () => {
    const bucket = await newBucket(FIVE);
    await bucket.tryConsume(5);
    const abort = new AbortController();
    const watching = bucket.watch(5, { signal: abort.signal });
    await until(() => clock.sleeping === 1);
    abort.abort(new Error('cancelled'));
    await expect(watching).rejects.toThrow('cancelled');
    expect(clock.sleeping).toBe(0);
  });

  it('never refills on its own, even after a year', async () => {
    const bucket = await newBucket(FIVE);
    await bucket.tryConsume(5);
    await clock.advance(365 * 86_400_000);
    expect(await bucket.decide()).toMatchObject({ allowed: false, retryAfter: Infinity });
  });

  it('Fill: refills automatically with a `refill` option', async () => {
    const bucket = await newBucket({ capacity: 5, refill: 5, refillMode: 'intervally' });
    await bucket.tryConsume(5);
    await clock.advance(1000);
    expect(await bucket.available()).toBe(5);
  });

  it('TakeAll, Count, Set: correspond to consumeUpTo, available, reset', async () => {
    const bucket = await newBucket(TEN);
    await bucket.tryConsume(3);
    expect(await bucket.available()).toBe(7);
    expect(await bucket.consumeUpTo(10)).toBe(7);
    await bucket.reset();
    expect(await bucket.available()).toBe(10);
  });

  it('Put: never exceeds the capacity, whereas the original grows from ten to eleven', async () => {
    const bucket = await newBucket(TEN);
    await bucket.put(1);
    expect(await bucket.available()).toBe(10);
  });

  it('opens an existing empty bucket, which the original rejects', async () => {
    clock = new FakeClock();
    const buckets = await open(clockedStore(store, clock));
    await buckets.bucket(FIVE, 'key').tryConsume(5);
    const again = buckets.bucket(FIVE, 'key');
    expect(await again.available()).toBe(0);
    await again.put(1);
    expect(await again.available()).toBe(1);
  });
});

describe('Distributed: several processes with one Redis', () => {
  const processes = async (...policies: LimitOptions[]) => {
    clock = new FakeClock();
    const options = clockedStore('redis', clock);
    return Promise.all(policies.map(async (policy) => (await open(options)).bucket(policy, 'key')));
  };

  it('shares the bucket and never grants a token twice', async () => {
    const [one, other] = await processes(FIVE, FIVE);
    const attempts = Array.from({ length: 50 }, (_, i) => (i % 2 ? one : other).tryConsume());
    expect((await Promise.all(attempts)).filter((allowed) => allowed)).toHaveLength(5);
  });

  it('wakes a Watch in one process after a Put in another', async () => {
    const [one, other] = await processes(FIVE, FIVE);
    await one.tryConsume(5);
    const watching = other.watch(5);
    await until(() => clock.sleeping === 1);
    await one.put(5);
    await watching; // the clock has not advanced, so this was not polling
  });

  it('uses separate buckets for different capacities; the original ignores the second capacity', async () => {
    const [one, other] = await processes(FIVE, TEN);
    await one.tryConsume(5);
    expect([await one.available(), await other.available()]).toEqual([0, 10]);
  });

  it('sends one command each for Take and Put', async () => {
    const store = new RedisStore({ client: redis, prefix: `go-${process.pid}:` });
    const bucket = new BucketService(store).bucket(FIVE, 'key');
    await bucket.reset();
    const sent = jest.spyOn(redis, 'sendCommand');
    await bucket.tryConsume(5);
    await bucket.put(5);
    expect(sent.mock.calls.map(([{ name }]) => name)).toEqual(['evalsha', 'evalsha']);
  });

  it('rejects with RateLimitStoreError if Redis is unavailable', async () => {
    const unreachable = 'redis://127.0.0.1:1';
    const buckets = await open({ store: { redis: unreachable }, failure: { mode: 'closed' } });
    await expect(buckets.bucket(FIVE, 'key').tryConsume()).rejects.toThrow(RateLimitStoreError);
  });
});

describe.each(STORES)('examples/server.go with the %s store', (store) => {
  @Controller()
  class Server {
    constructor(private readonly buckets: BucketService) {}

    @Get()
    async hello() {
      if (!(await this.buckets.bucket(FIVE, 'server').tryConsume()))
        throw new HttpException('Insufficient tokens.', 429);
      return 'accepted';
    }
  }

  let app: INestApplication;
  afterEach(() => app.close());

  it('accepts five of ten requests with a bucket of five', async () => {
    const imports = [RateLimitModule.forRoot(clockedStore(store, new FakeClock()))];
    app = await createApp('express', { imports, controllers: [Server] });
    const found = await statuses(app, ...new Array<string>(10).fill('/'));
    expect(found).toEqual([200, 200, 200, 200, 200, 429, 429, 429, 429, 429]);
  });
});
