import { afterAll, afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, Module, Post, type Type } from '@nestjs/common';
import { Redis } from 'ioredis';
import {
  type Bucket,
  type BucketService,
  byHeader,
  type LimitOptions,
  RateLimit,
  RateLimitModule,
  type RateLimitModuleOptions,
  RedisStore,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { closeBuckets, log, openBuckets } from '../support/buckets.js';
import { COMBINATIONS, createApp, STORES } from '../support/create-app.js';
import { freePort, type RedisServer, redisUrl, startRedis } from '../support/redis.js';
import { clockedStore, until } from '../support/requests.js';

/*
 * A rate limiter for Flask and FastAPI: a token bucket with route weights and a replaceable store.
 */

closeBuckets();
const redis = new Redis(redisUrl());
afterAll(() => redis.quit());

/** `RateLimitConfig(capacity=5, refill_rate=1.0)`. */
const CONFIG: LimitOptions = { name: 'demo', capacity: 5, refill: 1 };

let clock: FakeClock;

describe.each(STORES)('allow_request(client_id) with the %s store', (store) => {
  const open = async (): Promise<BucketService> => {
    clock = new FakeClock();
    return (await openBuckets(clockedStore(store, clock))).buckets;
  };
  const countAllowed = async (bucket: Bucket, count: number) => {
    let allowed = 0;
    for (let i = 0; i < count; i++) if (await bucket.tryConsume()) allowed++;
    return allowed;
  };

  it('allows five, denies the sixth, and allows exactly one more after 1.1 s', async () => {
    const bucket = (await open()).bucket(CONFIG, 'client');
    expect(await countAllowed(bucket, 6)).toBe(5);
    await clock.advance(1100);
    expect(await countAllowed(bucket, 2)).toBe(1);
  });

  it('keeps a separate bucket for each client', async () => {
    const buckets = await open();
    const allowed = async (client: string) => countAllowed(buckets.bucket(CONFIG, client), 6);
    expect([await allowed('ada'), await allowed('grace')]).toEqual([5, 5]);
  });

  it('get_remaining_tokens: includes fractions of a token', async () => {
    const bucket = (await open()).bucket(CONFIG, 'client');
    await countAllowed(bucket, 3);
    await clock.advance(250);
    expect(await bucket.available()).toBe(2.25);
  });

  it('tokens_per_request: accepts fractional costs', async () => {
    const bucket = (await open()).bucket(CONFIG, 'client');
    expect([await bucket.tryConsume(2.5), await bucket.tryConsume(2.5), await bucket.tryConsume(0.5)]).toEqual([
      true,
      true,
      false,
    ]);
  });

  it('allows five of a hundred concurrent requests, which separate reads and writes do not ensure', async () => {
    const bucket = (await open()).bucket(CONFIG, 'client');
    const results = await Promise.all(Array.from({ length: 100 }, () => bucket.tryConsume()));
    expect(results.filter((allowed) => allowed)).toHaveLength(5);
  });
});

/** The routes of the demo with their weights. */
@Controller('api')
class Api {
  @RateLimit(CONFIG)
  @Get('ping')
  ping() {
    return 'pong';
  }

  @RateLimit({ ...CONFIG, cost: 3 })
  @Post('upload')
  upload() {
    return 'uploaded';
  }

  @RateLimit({ ...CONFIG, cost: 5 })
  @Get('heavy-report')
  report() {
    return 'a long report';
  }
}

describe.each(COMBINATIONS)('Demo on $adapter with the $store store', ({ adapter, store }) => {
  let app: INestApplication;
  afterEach(() => app.close());

  const start = async () => {
    clock = new FakeClock();
    const options: RateLimitModuleOptions = { ...clockedStore(store, clock), headers: 'legacy' };
    const imports = [RateLimitModule.forRoot({ ...options, key: byHeader('x-client-id') })];
    app = await createApp(adapter, { imports, controllers: [Api] });
  };
  const send = async (method: 'get' | 'post', path: string, client = 'client') => {
    const { status, headers } = await request(app.getHttpServer())[method](`/api/${path}`).set('x-client-id', client);
    return {
      status: status < 300 ? 'ok' : status,
      limit: headers['x-ratelimit-limit'],
      remaining: headers['x-ratelimit-remaining'],
      reset: headers['x-ratelimit-reset'],
      retryAfter: headers['retry-after'],
    };
  };

  it('charges the weight of each route: ping 1, upload 3, heavy-report 5', async () => {
    await start();
    expect(await send('get', 'ping')).toMatchObject({ status: 'ok', remaining: '4' });
    expect(await send('post', 'upload')).toMatchObject({ status: 'ok', remaining: '1' });
    expect(await send('get', 'heavy-report')).toMatchObject({ status: 429, remaining: '1' });
    expect(await send('get', 'ping')).toMatchObject({ status: 'ok', remaining: '0' });
    expect(await send('get', 'heavy-report', 'another')).toMatchObject({ status: 'ok', remaining: '0' });
  });

  it('reports the tokens remaining after the request, not before it', async () => {
    await start();
    const remaining: string[] = [];
    for (let i = 0; i < 5; i++) remaining.push((await send('get', 'ping')).remaining);
    expect(remaining).toEqual(['4', '3', '2', '1', '0']);
    const rejected = await send('get', 'ping');
    expect(rejected).toEqual({ status: 429, limit: '5', remaining: '0', reset: '5', retryAfter: '1' });
  });

  it('sets Retry-After to the wait of the same request: one second for a ping, five for a report', async () => {
    await start();
    await send('get', 'heavy-report');
    expect((await send('get', 'ping')).retryAfter).toBe('1');
    expect((await send('get', 'heavy-report')).retryAfter).toBe('5');
    await clock.advance(5000);
    expect((await send('get', 'heavy-report')).status).toBe('ok');
  });
});

describe('RedisStore', () => {
  const open = async (prefix: string) =>
    (await openBuckets({ store: new RedisStore({ client: redis, prefix }) })).buckets;

  it('accepts an existing asynchronous client', async () => {
    const bucket = (await open(`python-own-${process.pid}:`)).bucket(CONFIG, 'client');
    await bucket.reset();
    expect(await bucket.decide()).toMatchObject({ allowed: true, remaining: 4, source: 'store' });
    await bucket.reset();
  });

  it('keeps a slowly refilled bucket for more than an hour', async () => {
    const prefix = `python-slow-${process.pid}:`;
    const daily = (await open(prefix)).bucket({ capacity: 1, refill: 1, unit: 'days' }, 'client');
    await daily.tryConsume();
    const [key] = await redis.keys(`${prefix}*`);
    expect(await redis.pttl(key)).toBeGreaterThan(23 * 3_600_000);
    await daily.reset();
  });

  it('writes nothing for a denied request', async () => {
    const prefix = `python-refused-${process.pid}:`;
    const daily = (await open(prefix)).bucket({ capacity: 2, refill: 1, unit: 'days' }, 'client');
    await daily.tryConsume(2);
    const [key] = await redis.keys(`${prefix}*`);
    const before = await redis.getBuffer(key);
    expect(await daily.tryConsume()).toBe(false);
    expect(await redis.getBuffer(key)).toEqual(before);
    await daily.reset();
  });
});

describe('Unavailable Redis', () => {
  let server: RedisServer | undefined;
  afterEach(async () => {
    await server?.stop();
    server = undefined;
  });

  it('decides in memory while Redis is unavailable, and in Redis once it is available', async () => {
    const port = await freePort();
    const { buckets, store } = await openBuckets({ store: { redis: `redis://127.0.0.1:${port}` } });
    const bucket = buckets.bucket({ ...CONFIG, refill: 1, unit: 'hours' }, 'client');
    for (let i = 0; i < 5; i++) expect(await bucket.decide()).toMatchObject({ allowed: true, source: 'fallback' });
    expect(await bucket.decide()).toMatchObject({ allowed: false, source: 'fallback' });
    const expectedLog = [/^warn: Redis at .* is not ready/, /^error: Rate limit store unavailable/].map((line) =>
      expect.stringMatching(line),
    );
    expect([store.health().status, log.lines]).toEqual(['down', expectedLog]);

    server = await startRedis({ port });
    await until(() => store.health().status === 'up');
    // The five requests that were admitted in the outage count in Redis, too.
    await until(async () => !(await bucket.estimate()).allowed);
    expect(await bucket.decide()).toMatchObject({ allowed: false, source: 'store' });
    expect(await buckets.bucket({ ...CONFIG, refill: 1, unit: 'hours' }, 'other').decide()).toMatchObject({
      allowed: true,
      source: 'store',
      remaining: 4,
    });
    expect(log.lines.at(-1)).toBe('log: Rate limit store available again');
  });
});

describe('Store option', () => {
  let app: INestApplication;
  afterEach(() => app.close());

  it.each(STORES)('selects the %s store without changes to the routes', async (store) => {
    @Module({ imports: [RateLimitModule.forRoot(clockedStore(store, new FakeClock()))], controllers: [Api] })
    class AppModule {}
    app = await createApp('express', { imports: [AppModule as Type] });
    expect((await request(app.getHttpServer()).get('/api/ping')).headers.ratelimit).toBe('"demo";r=4;t=1');
  });
});
