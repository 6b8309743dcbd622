import { afterAll, afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, Module, Post, type Type } from '@nestjs/common';
import { Redis } from 'ioredis';
import {
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
 * A rate limiter for Flask and FastAPI: a token bucket, weights by route, and a store that can be exchanged.
 */

closeBuckets();
const redis = new Redis(redisUrl());
afterAll(() => redis.quit());

/** `RateLimitConfig(capacity=5, refill_rate=1.0)`. */
const CONFIG: LimitOptions = { name: 'demo', capacity: 5, refill: 1 };

let clock: FakeClock;

describe.each(STORES)('allow_request(client_id), with the store %s', (store) => {
  const open = async (): Promise<BucketService> => {
    clock = new FakeClock();
    return (await openBuckets(clockedStore(store, clock))).buckets;
  };
  const allowed = async (buckets: BucketService, count: number, client = 'client') => {
    const bucket = buckets.bucket(CONFIG, client);
    const answers: boolean[] = [];
    for (let i = 0; i < count; i++) answers.push(await bucket.tryConsume());
    return answers.filter((answer) => answer).length;
  };

  it('five pass, the sixth does not; after 1.1 s one more does, and then none', async () => {
    const buckets = await open();
    expect(await allowed(buckets, 6)).toBe(5);
    await clock.advance(1100);
    expect(await allowed(buckets, 2)).toBe(1);
  });

  it('what comes back is capped: after ten idle seconds exactly five', async () => {
    const buckets = await open();
    expect(await allowed(buckets, 5)).toBe(5);
    await clock.advance(10_000);
    expect(await allowed(buckets, 7)).toBe(5);
  });

  it('each client has a bucket of its own', async () => {
    const buckets = await open();
    expect([await allowed(buckets, 6, 'ada'), await allowed(buckets, 6, 'grace')]).toEqual([5, 5]);
  });

  it('get_remaining_tokens', async () => {
    const buckets = await open();
    await allowed(buckets, 3);
    await clock.advance(250);
    expect(await buckets.bucket(CONFIG, 'client').available()).toBe(2.25);
  });

  it('tokens_per_request', async () => {
    const bucket = (await open()).bucket(CONFIG, 'client');
    expect([await bucket.tryConsume(2.5), await bucket.tryConsume(2.5), await bucket.tryConsume(0.5)]).toEqual([
      true,
      true,
      false,
    ]);
  });

  it('of a hundred at the same time five pass, which reading and then writing does not ensure', async () => {
    const bucket = (await open()).bucket(CONFIG, 'client');
    const answers = await Promise.all(Array.from({ length: 100 }, () => bucket.tryConsume()));
    expect(answers.filter((answer) => answer)).toHaveLength(5);
  });
});

/** The routes of the demo and their weights. */
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

describe.each(COMBINATIONS)('The demo on $adapter, with the store $store', ({ adapter, store }) => {
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

  it('weighs routes: ping 1, upload 3, heavy-report 5', async () => {
    await start();
    expect(await send('get', 'ping')).toMatchObject({ status: 'ok', remaining: '4' });
    expect(await send('post', 'upload')).toMatchObject({ status: 'ok', remaining: '1' });
    expect(await send('get', 'heavy-report')).toMatchObject({ status: 429, remaining: '1' });
    expect(await send('get', 'ping')).toMatchObject({ status: 'ok', remaining: '0' });
    expect(await send('get', 'heavy-report', 'another')).toMatchObject({ status: 'ok', remaining: '0' });
  });

  it('the headers tell what is left after the request, not before it', async () => {
    await start();
    const remaining: string[] = [];
    for (let i = 0; i < 5; i++) remaining.push((await send('get', 'ping')).remaining);
    expect(remaining).toEqual(['4', '3', '2', '1', '0']);
    const refused = await send('get', 'ping');
    expect(refused).toEqual({ status: 429, limit: '5', remaining: '0', reset: '5', retryAfter: '1' });
  });

  it('Retry-After is when the same request passes: a second for a ping, five for a report', async () => {
    await start();
    await send('get', 'heavy-report');
    expect((await send('get', 'ping')).retryAfter).toBe('1');
    expect((await send('get', 'heavy-report')).retryAfter).toBe('5');
    await clock.advance(5000);
    expect((await send('get', 'heavy-report')).status).toBe('ok');
  });
});

describe('The Redis store', () => {
  const open = async (prefix: string) =>
    (await openBuckets({ store: new RedisStore({ client: redis, prefix }) })).buckets;

  it('works with asynchronous code, and with a client of your own', async () => {
    const bucket = (await open(`python-own-${process.pid}:`)).bucket(CONFIG, 'client');
    await bucket.reset();
    expect(await bucket.decide()).toMatchObject({ allowed: true, remaining: 4, source: 'store' });
    await bucket.reset();
  });

  it('does not forget a slow bucket after an hour', async () => {
    const prefix = `python-slow-${process.pid}:`;
    const daily = (await open(prefix)).bucket({ capacity: 1, refill: 1, unit: 'days' }, 'client');
    await daily.tryConsume();
    const [key] = await redis.keys(`${prefix}*`);
    expect(await redis.pttl(key)).toBeGreaterThan(23 * 3_600_000);
    await daily.reset();
  });

  it('a refusal writes nothing', async () => {
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

describe('Redis is not there', () => {
  let server: RedisServer | undefined;
  afterEach(async () => {
    await server?.stop();
    server = undefined;
  });

  it('memory decides, from the start and as long as it takes; then Redis does again', async () => {
    const port = await freePort();
    const { buckets, store } = await openBuckets({ store: { redis: `redis://127.0.0.1:${port}` } });
    const bucket = buckets.bucket({ ...CONFIG, refill: 1, unit: 'hours' }, 'client');
    for (let i = 0; i < 5; i++) expect(await bucket.decide()).toMatchObject({ allowed: true, source: 'fallback' });
    expect(await bucket.decide()).toMatchObject({ allowed: false, source: 'fallback' });
    const told = [/^warn: Redis at .* is not ready/, /^error: The store does not/].map((line) =>
      expect.stringMatching(line),
    );
    expect([store.health().status, log.lines]).toEqual(['down', told]);

    server = await startRedis({ port });
    await until(() => store.health().status === 'up');
    expect(await bucket.decide()).toMatchObject({ allowed: true, source: 'store', remaining: 4 });
    expect(log.lines.at(-1)).toBe('log: The store answers again');
  });
});

describe('The store is chosen in one place', () => {
  let app: INestApplication;
  afterEach(() => app.close());

  it.each(STORES)('by an option, and no route knows: %s', async (store) => {
    @Module({ imports: [RateLimitModule.forRoot(clockedStore(store, new FakeClock()))], controllers: [Api] })
    class AppModule {}
    app = await createApp('express', { imports: [AppModule as Type] });
    expect((await request(app.getHttpServer()).get('/api/ping')).headers.ratelimit).toBe('"demo";r=4;t=1');
  });
});
