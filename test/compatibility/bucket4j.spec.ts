import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ServerResponse } from 'node:http';
import { afterAll, afterEach, describe, expect, it } from '@jest/globals';
import {
  type ArgumentsHost,
  Body,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  type INestApplication,
  Post,
  UseFilters,
} from '@nestjs/common';
import { Redis } from 'ioredis';
import {
  type BucketService,
  byHeader,
  type DecisionMessage,
  type LimitOptions,
  MemoryStore,
  RateLimit,
  RateLimitExceededException,
  RateLimitModule,
  RedisStore,
  TimeUnit,
  TokenBucket,
  type WaitMessage,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { closeBuckets, openBuckets } from '../support/buckets.js';
import { createApp, STORES, type StoreName } from '../support/create-app.js';
import { redisUrl } from '../support/redis.js';
import { clockedStore, until } from '../support/requests.js';

/*
 * bucket4j: its page on asynchronous buckets (version 3), and what the buckets of today's version do besides.
 */

closeBuckets();
const redis = new Redis(redisUrl());
afterAll(() => redis.quit());

let app: INestApplication | undefined;
let clock: FakeClock;
afterEach(async () => {
  await app?.close();
  app = undefined;
});

async function open(store: StoreName): Promise<BucketService> {
  clock = new FakeClock();
  return (await openBuckets(clockedStore(store, clock))).buckets;
}

/** `Refill.smooth(10, 1 minute)` into a bucket with an overdraft of 20. */
const SMS: LimitOptions = { name: 'sms', capacity: 20, refill: 10, duration: 1, unit: TimeUnit.MINUTES };

async function passes(count: number, ask: () => Promise<boolean>): Promise<number> {
  let passed = 0;
  for (let i = 0; i < count; i++) if (await ask()) passed++;
  return passed;
}

describe.each(STORES)('Asynchronous API: buckets in %s', (store) => {
  it('each method has the same meaning as that of a synchronous bucket', async () => {
    const asynchronous = (await open(store)).bucket({ capacity: 20, refill: 10 }, 'key');
    const synchronous = new TokenBucket(20, 10, { clock });
    for (const [ms, n] of [
      [0, 19],
      [0, 2],
      [99, 2],
      [1, 2],
      [250, 2.5],
      [60_000, 20],
      [1, 0.01],
    ]) {
      await clock.advance(ms);
      expect(await asynchronous.tryConsume(n)).toBe(synchronous.tryConsume(n));
      expect(await asynchronous.available()).toBeCloseTo(synchronous.available, 9);
    }
  });
});

describe.each(STORES)('Example: limiting SMS, with the buckets in %s', (store) => {
  const phoneOf = (context: ExecutionContext) =>
    context.switchToHttp().getRequest<{ body: { phone: string } }>().body.phone;

  @Controller()
  class SmsController {
    @RateLimit({ ...SMS, key: phoneOf })
    @Post('sms')
    async send(@Body('phone') phone: string) {
      await new Promise(setImmediate);
      return `sent to ${phone}`;
    }
  }

  const send = async (phone: string) =>
    (await request(app?.getHttpServer()).post('/sms').send({ phone })).status === 201;
  const start = async () => {
    clock = new FakeClock();
    const imports = [RateLimitModule.forRoot(clockedStore(store, clock))];
    app = await createApp('express', { imports, controllers: [SmsController] });
  };

  it('a peak of 20 passes, then a message each six seconds', async () => {
    await start();
    expect(await passes(25, () => send('+49 1'))).toBe(20);
    await clock.advance(5999);
    expect(await send('+49 1')).toBe(false);
    await clock.advance(1);
    expect(await passes(2, () => send('+49 1'))).toBe(1);
    await clock.advance(60_000);
    expect(await passes(11, () => send('+49 1'))).toBe(10);
  });

  it('10 per minute for ever are never throttled', async () => {
    await start();
    expect(await passes(20, () => send('+49 1'))).toBe(20);
    for (let i = 0; i < 60; i++) {
      await clock.advance(6000);
      expect(await send('+49 1')).toBe(true);
    }
  });

  it('any outbound number has its own bucket', async () => {
    await start();
    expect(await passes(21, () => send('+49 1'))).toBe(20);
    expect(await passes(21, () => send('+49 2'))).toBe(20);
  });
});

describe('Clustering', () => {
  it('what was taken outlives the process that took it', async () => {
    clock = new FakeClock();
    const options = clockedStore('redis', clock);
    const crashed = (await openBuckets(options)).buckets.bucket(SMS, '+49 1');
    await crashed.consumeUpTo(15);
    const other = (await openBuckets(options)).buckets.bucket(SMS, '+49 1');
    expect(await other.available()).toBe(5);
  });

  it('a bucket stays in Redis until it is full again, and no longer', async () => {
    const prefix = `bucket4j-${process.pid}:`;
    const { buckets } = await openBuckets({ store: new RedisStore({ client: redis, prefix }) });
    const ttl = async () => redis.pttl((await redis.keys(`${prefix}*`))[0]);
    const bucket = buckets.bucket(SMS, '+49 1');
    expect(await redis.keys(`${prefix}*`)).toEqual([]); // it is made when it is first needed
    await bucket.tryConsume(10);
    expect(await ttl()).toBeGreaterThan(50_000);
    expect(await ttl()).toBeLessThanOrEqual(60_000);
    await bucket.reset();
    expect(await redis.keys(`${prefix}*`)).toEqual([]);
  });
});

describe('Throttling filter', () => {
  @Catch(RateLimitExceededException)
  class AsText implements ExceptionFilter {
    catch(_refusal: RateLimitExceededException, host: ArgumentsHost): void {
      const response = host.switchToHttp().getResponse<ServerResponse>();
      response.writeHead(429, { 'content-type': 'text/plain' }).end('Too many requests');
    }
  }

  @UseFilters(AsText)
  @Controller()
  class Api {
    @RateLimit({ capacity: 20, refill: 10, unit: 'minutes', key: byHeader('x-app-key') })
    @Get()
    hello() {
      return 'passed';
    }
  }

  it('is told at once that the bucket of its application is empty: 429, text/plain, Too many requests', async () => {
    clock = new FakeClock();
    const imports = [RateLimitModule.forRoot({ store: new MemoryStore({ clock }) })];
    app = await createApp('express', { imports, controllers: [Api] });
    const get = (key: string) => request(app?.getHttpServer()).get('/').set('x-app-key', key);
    expect(await passes(20, async () => (await get('throttler-1')).text === 'passed')).toBe(20);
    const refused = await get('throttler-1');
    expect([refused.status, refused.type, refused.text]).toEqual([429, 'text/plain', 'Too many requests']);
    expect((await get('throttler-2')).text).toBe('passed');
  });
});

describe.each(STORES)('Bucket, kept in %s', (store) => {
  const bucket = async (policy: LimitOptions) => (await open(store)).bucket(policy, 'key');

  it('tryConsumeAndReturnRemaining: what is left, and how long to wait for refill and for reset', async () => {
    const ten = await bucket({ capacity: 10, refill: 10 });
    expect(await ten.decide(9)).toMatchObject({ allowed: true, remaining: 1, retryAfter: 0, resetAfter: 900 });
    expect(await ten.decide(4)).toMatchObject({ allowed: false, remaining: 1, retryAfter: 300, resetAfter: 900 });
    expect((await ten.decide(11)).retryAfter).toBe(Infinity);
  });

  it('estimateAbilityToConsume takes nothing', async () => {
    const ten = await bucket({ capacity: 10, refill: 10 });
    expect(await ten.estimate(10)).toMatchObject({ allowed: true, retryAfter: 0 });
    expect(await ten.available()).toBe(10);
  });

  it('tryConsumeAsMuchAsPossible', async () => {
    const ten = await bucket({ capacity: 10, refill: 10 });
    expect([await ten.consumeUpTo(4), await ten.consumeUpTo(100), await ten.consumeUpTo(100)]).toEqual([4, 6, 0]);
  });

  it('consumeIgnoringRateLimits tells the penalty, and the balance goes below zero', async () => {
    const ten = await bucket({ capacity: 10, refill: 10 });
    expect((await ten.charge(35)).retryAfter).toBe(2500);
    expect(await ten.available()).toBe(-25);
    expect(await ten.consumeUpTo(1)).toBe(0);
  });

  it('addTokens, never above the capacity; reset', async () => {
    const ten = await bucket({ capacity: 10, refill: 10 });
    await ten.tryConsume(8);
    await ten.put(3);
    expect(await ten.available()).toBe(5);
    await ten.put(100);
    expect(await ten.available()).toBe(10);
    await ten.charge(30);
    await ten.reset();
    expect(await ten.available()).toBe(10);
  });

  it('several bandwidths: all of them or none', async () => {
    const both = await bucket({
      limits: [
        { name: 'hour', capacity: 10_000, refill: 10_000, unit: 'hours' },
        { name: 'second', capacity: 20, refill: 20 },
      ],
    });
    expect(await both.decide(15)).toMatchObject({ allowed: true, remaining: 5 });
    const refused = await both.decide(15);
    expect(refused).toMatchObject({ allowed: false, retryAfter: 500 });
    expect(refused.limits.map(({ remaining }) => remaining)).toEqual([9985, 5]);
  });

  it('a long period alone lets all of it pass in one second; a second limit prevents that', async () => {
    const hour = { capacity: 10_000, refill: 10_000, unit: 'hours' } as const;
    expect(await (await bucket(hour)).consumeUpTo(10_000)).toBe(10_000);
    const both = await bucket({ limits: [hour, { capacity: 20, refill: 20 }] });
    expect(await both.consumeUpTo(10_000)).toBe(20);
  });

  it('a short burst: a bucket admits nearly twice its limit in one period, a window does not', async () => {
    const inOnePeriod = async (policy: LimitOptions) => {
      const one = await bucket(policy);
      const burst = await one.consumeUpTo(100);
      await clock.advance(59_999);
      return burst + (await one.consumeUpTo(100));
    };
    expect(await inOnePeriod({ capacity: 10, refill: 10, unit: 'minutes' })).toBe(19);
    expect(await inOnePeriod({ maxRequest: 10, unit: 'minutes' })).toBe(10);
  });

  it('refillGreedy: 10 per second are one each 100 ms', async () => {
    const greedy = await bucket({ capacity: 10, refill: 10 });
    await greedy.tryConsume(10);
    await clock.advance(100);
    expect(await greedy.available()).toBe(1);
  });

  it('refillIntervally: the whole portion, when the whole period is over', async () => {
    const intervally = await bucket({ capacity: 10, refill: 10, refillMode: 'intervally' });
    await intervally.tryConsume(10);
    await clock.advance(999);
    expect(await intervally.available()).toBe(0);
    await clock.advance(1);
    expect(await intervally.available()).toBe(10);
  });

  it('refillIntervallyAligned: at the top of the hour, whenever the bucket was first used', async () => {
    const aligned = await bucket({ capacity: 400, refill: 400, unit: 'hours', refillMode: 'intervally' });
    await clock.advance(40 * 60_000);
    await aligned.tryConsume(400);
    expect((await aligned.decide(400)).retryAfter).toBe(20 * 60_000);
  });

  it.each([
    ['reset', 200, 200],
    ['as-is', 200, 40],
    ['proportionally', 200, 80],
    ['additive', 200, 140],
    ['reset', 20, 20],
    ['as-is', 20, 20],
    ['proportionally', 20, 8],
    ['additive', 20, 20],
  ] as const)('replaceConfiguration, %s: 40 of 100 become, of %i, %i', async (strategy, capacity, left) => {
    const old = await bucket({ capacity: 100, refill: 10, unit: 'hours' });
    await old.tryConsume(60);
    const replaced = await old.replacePolicy({ capacity, refill: 10, unit: 'hours' }, strategy);
    expect(await replaced.available()).toBe(left);
  });
});

describe.each(STORES)('Blocking and scheduling, with the bucket in %s', (store) => {
  const empty = async () => {
    const bucket = (await open(store)).bucket({ capacity: 10, refill: 10 }, 'key');
    await bucket.tryConsume(10);
    return bucket;
  };

  it('reserves at once, and lets pass in the order of coming', async () => {
    const bucket = await empty();
    const order: string[] = [];
    const first = bucket.consume(5).then(() => order.push(`first at ${clock.now() % 10_000}`));
    await until(() => clock.sleeping === 1);
    const second = bucket.consume(1).then(() => order.push(`second at ${clock.now() % 10_000}`));
    await until(() => clock.sleeping === 2);
    expect(await bucket.available()).toBe(-6);
    await clock.advance(1000);
    await Promise.all([first, second]);
    expect(order).toEqual(['first at 500', 'second at 600']);
  });

  it('is refused at once when the deficit cannot close within maxWait, and nothing is taken', async () => {
    const bucket = await empty();
    await expect(bucket.consume(5, { maxWait: 499 })).rejects.toThrow(RateLimitExceededException);
    expect([clock.sleeping, await bucket.available()]).toEqual([0, 0]);
  });

  it('more than the capacity is refused at once, where bucket4j waits for several periods', async () => {
    await expect((await empty()).consume(11)).rejects.toMatchObject({ decision: { retryAfter: Infinity } });
  });

  it('an interrupted waiter gives its tokens back, which bucket4j keeps', async () => {
    const bucket = await empty();
    const abort = new AbortController();
    const waiting = bucket.consume(5, { signal: abort.signal });
    await until(() => clock.sleeping === 1);
    abort.abort(new Error('interrupted'));
    await expect(waiting).rejects.toThrow('interrupted');
    expect(await bucket.available()).toBe(0);
  });
});

describe('Listener', () => {
  it('is told of what was consumed, rejected and waited for; an estimate tells nothing', async () => {
    const told: string[] = [];
    const decided = (message: unknown) => {
      const { allowed } = message as DecisionMessage;
      told.push(allowed ? 'consumed' : 'rejected');
    };
    const waited = (message: unknown) => told.push(`parking: ${(message as WaitMessage).end ?? 'begins'}`);
    subscribe('nest-rate-limit:decision', decided);
    subscribe('nest-rate-limit:wait', waited);
    const bucket = (await open('memory')).bucket({ capacity: 1, refill: 1 }, 'key');
    await bucket.estimate();
    await bucket.tryConsume();
    await bucket.tryConsume();
    const waiting = bucket.consume();
    await until(() => clock.sleeping === 1);
    await clock.advance(1000);
    await waiting;
    unsubscribe('nest-rate-limit:decision', decided);
    unsubscribe('nest-rate-limit:wait', waited);
    expect(told).toEqual(['consumed', 'rejected', 'consumed', 'parking: begins', 'parking: passed']);
  });
});

describe('Optimizations', () => {
  const hourly: LimitOptions = { name: 'hourly', capacity: 100, refill: 1, unit: 'hours' };

  it('skip-sync-on-zero: an empty bucket is asked once, until the first token can be there', async () => {
    const bucket = (await open('redis')).bucket(hourly, 'key');
    expect([await bucket.consumeUpTo(100), (await bucket.decide()).source]).toEqual([100, 'store']);
    expect(await bucket.decide()).toMatchObject({ allowed: false, source: 'cache', retryAfter: 3_600_000 });
    await clock.advance(3_600_000);
    expect(await bucket.decide()).toMatchObject({ allowed: true, source: 'store' });
  });

  it('delaying: ten processes that take 20 tokens at a time never take more than there are', async () => {
    clock = new FakeClock();
    const options = clockedStore('redis', clock);
    const leased = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const { buckets } = await openBuckets(options);
        return buckets.bucket({ ...hourly, lease: 20 }, 'key');
      }),
    );
    const taken = await Promise.all(leased.map((bucket) => passes(20, () => bucket.tryConsume())));
    expect(taken.reduce((sum, count) => sum + count)).toBe(100);
    expect(taken.filter((count) => count === 20)).toHaveLength(5);
  });
});

describe('Validation', () => {
  it.each<[LimitOptions, string]>([
    [{ capacity: 0, refill: 1 }, '`capacity` must be a positive number, got 0'],
    [{ capacity: -1, refill: 1 }, '`capacity` must be a positive number, got -1'],
    [{ capacity: 1, refill: 1, duration: -1 }, '`duration` must be a positive number of `unit`s, got -1'],
    [{ capacity: 1, refill: -1 }, '`refill` must be a number from 0 up, got -1'],
    [{ limits: [] }, '`limits` must be a list of at least one limit, got an array of 0'],
  ])('%j is refused: %s', async (policy, message) => {
    const buckets = await open('memory');
    expect(() => buckets.bucket(policy, 'key')).toThrow(message);
  });

  it('takes and gives only what is positive', async () => {
    const bucket = (await open('memory')).bucket({ capacity: 1, refill: 1 }, 'key');
    for (const wrong of [bucket.tryConsume(0), bucket.put(-1), bucket.charge(0), bucket.consumeUpTo(0)]) {
      await expect(wrong).rejects.toThrow(/^tokens must be positive, got (0|-1)$/);
    }
  });
});
