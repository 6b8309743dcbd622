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
 * bucket4j: its page on asynchronous buckets (version 3), and further methods of buckets in the current version.
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

/** `Refill.smooth(10, 1 minute)` with an overdraft of 20. */
const SMS: LimitOptions = { name: 'sms', capacity: 20, refill: 10, duration: 1, unit: TimeUnit.MINUTES };

async function countAllowed(count: number, attempt: () => Promise<boolean>): Promise<number> {
  let allowed = 0;
  for (let i = 0; i < count; i++) if (await attempt()) allowed++;
  return allowed;
}

describe.each(STORES)('Asynchronous API with the %s store', (store) => {
  it('returns the same results as a synchronous TokenBucket', async () => {
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

describe.each(STORES)('Example: limiting SMS with the %s store', (store) => {
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

  it('allows a burst of 20, then one message every six seconds', async () => {
    await start();
    expect(await countAllowed(25, () => send('+49 1'))).toBe(20);
    await clock.advance(5999);
    expect(await send('+49 1')).toBe(false);
    await clock.advance(1);
    expect(await countAllowed(2, () => send('+49 1'))).toBe(1);
    await clock.advance(60_000);
    expect(await countAllowed(11, () => send('+49 1'))).toBe(10);
  });

  it('never rejects a sustained rate of 10 messages per minute', async () => {
    await start();
    expect(await countAllowed(20, () => send('+49 1'))).toBe(20);
    for (let i = 0; i < 60; i++) {
      await clock.advance(6000);
      expect(await send('+49 1')).toBe(true);
    }
  });

  it('keeps a separate bucket for each phone number', async () => {
    await start();
    expect(await countAllowed(21, () => send('+49 1'))).toBe(20);
    expect(await countAllowed(21, () => send('+49 2'))).toBe(20);
  });
});

describe('Clustering', () => {
  it('keeps the balance after the process that consumed the tokens crashes', async () => {
    clock = new FakeClock();
    const options = clockedStore('redis', clock);
    const crashed = (await openBuckets(options)).buckets.bucket(SMS, '+49 1');
    await crashed.consumeUpTo(15);
    const other = (await openBuckets(options)).buckets.bucket(SMS, '+49 1');
    expect(await other.available()).toBe(5);
  });

  it('keeps a bucket in Redis only until it is full again', async () => {
    const prefix = `bucket4j-${process.pid}:`;
    const { buckets } = await openBuckets({ store: new RedisStore({ client: redis, prefix }) });
    const ttl = async () => redis.pttl((await redis.keys(`${prefix}*`))[0]);
    const bucket = buckets.bucket(SMS, '+49 1');
    expect(await redis.keys(`${prefix}*`)).toEqual([]); // the key is created on first use
    await bucket.tryConsume(10);
    expect(await ttl()).toBeGreaterThan(50_000);
    expect(await ttl()).toBeLessThanOrEqual(60_000);
    await bucket.reset();
    expect(await redis.keys(`${prefix}*`)).toEqual([]);
  });
});

describe('Throttling filter', () => {
  @Catch(RateLimitExceededException)
  class PlainTextFilter implements ExceptionFilter {
    catch(_exception: RateLimitExceededException, host: ArgumentsHost): void {
      const response = host.switchToHttp().getResponse<ServerResponse>();
      response.writeHead(429, { 'content-type': 'text/plain' }).end('Too many requests');
    }
  }

  @UseFilters(PlainTextFilter)
  @Controller()
  class Api {
    @RateLimit({ capacity: 20, refill: 10, unit: 'minutes', key: byHeader('x-app-key') })
    @Get()
    hello() {
      return 'passed';
    }
  }

  it('answers 429, text/plain, "Too many requests" when the bucket of the application key is empty', async () => {
    clock = new FakeClock();
    const imports = [RateLimitModule.forRoot({ store: new MemoryStore({ clock }) })];
    app = await createApp('express', { imports, controllers: [Api] });
    const get = (key: string) => request(app?.getHttpServer()).get('/').set('x-app-key', key);
    expect(await countAllowed(20, async () => (await get('throttler-1')).text === 'passed')).toBe(20);
    const rejected = await get('throttler-1');
    expect([rejected.status, rejected.type, rejected.text]).toEqual([429, 'text/plain', 'Too many requests']);
    expect((await get('throttler-2')).text).toBe('passed');
  });
});

describe.each(STORES)('Bucket in the %s store', (store) => {
  const bucket = async (policy: LimitOptions) => (await open(store)).bucket(policy, 'key');

  it('tryConsumeAndReturnRemaining: returns the remaining tokens and the times until refill and reset', async () => {
    const ten = await bucket({ capacity: 10, refill: 10 });
    expect(await ten.decide(9)).toMatchObject({ allowed: true, remaining: 1, retryAfter: 0, resetAfter: 900 });
    expect(await ten.decide(4)).toMatchObject({ allowed: false, remaining: 1, retryAfter: 300, resetAfter: 900 });
    expect((await ten.decide(11)).retryAfter).toBe(Infinity);
  });

  it('estimateAbilityToConsume: takes nothing', async () => {
    const ten = await bucket({ capacity: 10, refill: 10 });
    expect(await ten.estimate(10)).toMatchObject({ allowed: true, retryAfter: 0 });
    expect(await ten.available()).toBe(10);
  });

  it('tryConsumeAsMuchAsPossible: takes at most the available tokens', async () => {
    const ten = await bucket({ capacity: 10, refill: 10 });
    expect([await ten.consumeUpTo(4), await ten.consumeUpTo(100), await ten.consumeUpTo(100)]).toEqual([4, 6, 0]);
  });

  it('consumeIgnoringRateLimits: returns the penalty and allows a negative balance', async () => {
    const ten = await bucket({ capacity: 10, refill: 10 });
    expect((await ten.charge(35)).retryAfter).toBe(2500);
    expect(await ten.available()).toBe(-25);
    expect(await ten.consumeUpTo(1)).toBe(0);
  });

  it('addTokens: never exceeds the capacity; reset: clears the debt', async () => {
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

  it('several bandwidths: takes from all of them or from none', async () => {
    const both = await bucket({
      limits: [
        { name: 'hour', capacity: 10_000, refill: 10_000, unit: 'hours' },
        { name: 'second', capacity: 20, refill: 20 },
      ],
    });
    expect(await both.decide(15)).toMatchObject({ allowed: true, remaining: 5 });
    const denied = await both.decide(15);
    expect(denied).toMatchObject({ allowed: false, retryAfter: 500 });
    expect(denied.limits.map(({ remaining }) => remaining)).toEqual([9985, 5]);
  });

  it('several bandwidths: a limit per second prevents spending an hourly limit at once', async () => {
    const hour = { capacity: 10_000, refill: 10_000, unit: 'hours' } as const;
    expect(await (await bucket(hour)).consumeUpTo(10_000)).toBe(10_000);
    const both = await bucket({ limits: [hour, { capacity: 20, refill: 20 }] });
    expect(await both.consumeUpTo(10_000)).toBe(20);
  });

  it('short burst: a bucket admits nearly twice its capacity in one period, a window does not', async () => {
    const inOnePeriod = async (policy: LimitOptions) => {
      const one = await bucket(policy);
      const burst = await one.consumeUpTo(100);
      await clock.advance(59_999);
      return burst + (await one.consumeUpTo(100));
    };
    expect(await inOnePeriod({ capacity: 10, refill: 10, unit: 'minutes' })).toBe(19);
    expect(await inOnePeriod({ maxRequest: 10, unit: 'minutes' })).toBe(10);
  });

  it('refillGreedy: a refill of 10 per second adds one token every 100 ms', async () => {
    const greedy = await bucket({ capacity: 10, refill: 10 });
    await greedy.tryConsume(10);
    await clock.advance(100);
    expect(await greedy.available()).toBe(1);
  });

  it('refillIntervally: adds the whole refill at the end of the period', async () => {
    const intervally = await bucket({ capacity: 10, refill: 10, refillMode: 'intervally' });
    await intervally.tryConsume(10);
    await clock.advance(999);
    expect(await intervally.available()).toBe(0);
    await clock.advance(1);
    expect(await intervally.available()).toBe(10);
  });

  it('refillIntervallyAligned: refills at the top of the hour, regardless of the first use', async () => {
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
  ] as const)('replaceConfiguration, %s: 40 of 100, new capacity %i: %i tokens', async (strategy, capacity, left) => {
    const old = await bucket({ capacity: 100, refill: 10, unit: 'hours' });
    await old.tryConsume(60);
    const replaced = await old.replacePolicy({ capacity, refill: 10, unit: 'hours' }, strategy);
    expect(await replaced.available()).toBe(left);
  });
});

describe.each(STORES)('Blocking and scheduling with the %s store', (store) => {
  const empty = async () => {
    const bucket = (await open(store)).bucket({ capacity: 10, refill: 10 }, 'key');
    await bucket.tryConsume(10);
    return bucket;
  };

  it('reserves tokens immediately and resolves waiters in FIFO order', async () => {
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

  it('rejects immediately and takes nothing if the wait would exceed maxWait', async () => {
    const bucket = await empty();
    await expect(bucket.consume(5, { maxWait: 499 })).rejects.toThrow(RateLimitExceededException);
    expect([clock.sleeping, await bucket.available()]).toEqual([0, 0]);
  });

  it('rejects more than the capacity immediately, whereas bucket4j waits several periods', async () => {
    await expect((await empty()).consume(11)).rejects.toMatchObject({ decision: { retryAfter: Infinity } });
  });

  it('refunds the tokens of an interrupted waiter, whereas bucket4j keeps them', async () => {
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
  it('receives an event for each decision and wait, but none for an estimate', async () => {
    const events: string[] = [];
    const onDecision = (message: unknown) => {
      const { allowed } = message as DecisionMessage;
      events.push(allowed ? 'consumed' : 'rejected');
    };
    const onWait = (message: unknown) => events.push(`parking: ${(message as WaitMessage).end ?? 'begins'}`);
    subscribe('nest-rate-limit:decision', onDecision);
    subscribe('nest-rate-limit:wait', onWait);
    const bucket = (await open('memory')).bucket({ capacity: 1, refill: 1 }, 'key');
    await bucket.estimate();
    await bucket.tryConsume();
    await bucket.tryConsume();
    const waiting = bucket.consume();
    await until(() => clock.sleeping === 1);
    await clock.advance(1000);
    await waiting;
    unsubscribe('nest-rate-limit:decision', onDecision);
    unsubscribe('nest-rate-limit:wait', onWait);
    expect(events).toEqual(['consumed', 'rejected', 'consumed', 'parking: begins', 'parking: passed']);
  });
});

describe('Optimizations', () => {
  const hourly: LimitOptions = { name: 'hourly', capacity: 100, refill: 1, unit: 'hours' };

  it('skip-sync-on-zero: denies without a query until an empty bucket can have a token', async () => {
    const bucket = (await open('redis')).bucket(hourly, 'key');
    expect([await bucket.consumeUpTo(100), (await bucket.decide()).source]).toEqual([100, 'store']);
    expect(await bucket.decide()).toMatchObject({ allowed: false, source: 'cache', retryAfter: 3_600_000 });
    await clock.advance(3_600_000);
    expect(await bucket.decide()).toMatchObject({ allowed: true, source: 'store' });
  });

  it('delaying: ten processes that lease 20 tokens at a time never exceed the capacity', async () => {
    clock = new FakeClock();
    const options = clockedStore('redis', clock);
    const leased = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const { buckets } = await openBuckets(options);
        return buckets.bucket({ ...hourly, lease: 20 }, 'key');
      }),
    );
    const taken = await Promise.all(leased.map((bucket) => countAllowed(20, () => bucket.tryConsume())));
    expect(taken.reduce((sum, count) => sum + count)).toBe(100);
    expect(taken.filter((count) => count === 20)).toHaveLength(5);
  });
});

describe('Validation', () => {
  it.each<[LimitOptions, string]>([
    [{ capacity: 0, refill: 1 }, '`capacity` must be a positive number, got 0'],
    [{ capacity: -1, refill: 1 }, '`capacity` must be a positive number, got -1'],
    [{ capacity: 1, refill: 1, duration: -1 }, '`duration` must be a positive number of `unit`s, got -1'],
    [{ capacity: 1, refill: -1 }, '`refill` must be a number of at least 0, got -1'],
    [{ limits: [] }, '`limits` must be a list of at least one limit, got []'],
  ])('rejects %j: %s', async (policy, message) => {
    const buckets = await open('memory');
    expect(() => buckets.bucket(policy, 'key')).toThrow(message);
  });

  it('rejects amounts that are not positive', async () => {
    const bucket = (await open('memory')).bucket({ capacity: 1, refill: 1 }, 'key');
    for (const call of [bucket.tryConsume(0), bucket.tryConsume(-1), bucket.consumeUpTo(0)]) {
      await expect(call).rejects.toThrow(/^tokens must be positive, got (0|-1)$/);
    }
    for (const call of [bucket.put(-1), bucket.charge(-1)]) {
      await expect(call).rejects.toThrow('tokens must be a number of at least 0, got -1');
    }
  });
});
