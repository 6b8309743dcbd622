import { afterEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Delete, type ExecutionContext, Get, type INestApplication, Post, Put } from '@nestjs/common';
import {
  BucketService,
  MemoryStore,
  RateLimit,
  RateLimitExceededException,
  RateLimitModule,
  type RateLimitModuleOptions,
  TokenBucket,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { createApp } from '../support/create-app.js';

/*
 * The API reference of a TokenBucket for Python: a class for a single process, and usage patterns built on it.
 */

let clock: FakeClock;

function tokenBucket(capacity: number, tokensPerSecond: number): TokenBucket {
  clock = new FakeClock();
  return new TokenBucket(capacity, tokensPerSecond, { clock });
}

/** Milliseconds since the bucket was created. */
const now = () => clock.now() - new FakeClock().now();

describe('Constructor', () => {
  it.each([
    ['HTTP', 20, 100 / 60],
    ['database', 500, 1000],
    ['jobs', 5, 1],
    ['strict', 5, 5],
    ['permissive', 1000, 2],
    ['per client', 100, 50],
    ['global', 10_000, 1000],
    ['one per ten seconds', 1, 0.1],
    ['high rate', 50, 100],
    ['even', 10, 10],
    ['one per minute', 1, 1 / 60],
    ['one per two seconds', 1, 0.5],
    ['high throughput', 100, 10_000],
    ['high capacity, moderate rate', 1000, 100],
    ['low capacity, high rate', 10, 1000],
    ['equal', 50, 50],
    ['high capacity, low rate', 100, 1],
    ['REST API', 1000, 10_000 / 60],
    ['database queries', 500, 5000],
    ['uploads', 100, 100],
    ['e-mail', 5, 1],
    ['cache', 50_000, 100_000],
  ])('%s: starts with %p tokens and gains %p per second', async (_name, capacity, tokensPerSecond) => {
    const bucket = tokenBucket(capacity, tokensPerSecond);
    expect([bucket.allow(capacity), bucket.allow()]).toEqual([true, false]);
    await clock.advance(1000);
    expect(bucket.available).toBeCloseTo(Math.min(capacity, tokensPerSecond), 3);
    await clock.advance(Math.ceil((1000 * capacity) / tokensPerSecond));
    expect(bucket.available).toBeCloseTo(capacity, 3);
  });

  it('accepts fractional capacities, rates and amounts', () => {
    const bucket = tokenBucket(5.5, 0.1);
    expect([bucket.allow(5), bucket.allow(0.6), bucket.allow(0.5)]).toEqual([true, false, true]);
  });

  it.each([
    [0, 1, 'capacity must be positive'],
    [-1, 1, 'capacity must be positive'],
    [1, 0, 'tokens_per_second must be positive'],
    [1, -0.5, 'tokens_per_second must be positive'],
  ])('TokenBucket(%p, %p) throws: %s', (capacity, tokensPerSecond, message) => {
    const expected = message.replace('tokens_per_second', 'tokensPerSecond');
    expect(() => tokenBucket(capacity, tokensPerSecond)).toThrow(expected);
  });
});

describe('allow', () => {
  it('takes one token by default', () => {
    const bucket = tokenBucket(2, 1);
    expect([bucket.allow(), bucket.allow(), bucket.allow()]).toEqual([true, true, false]);
  });

  it('takes a batch of five or nothing', () => {
    const bucket = tokenBucket(7, 1);
    expect([bucket.allow(5), bucket.allow(5), bucket.available]).toEqual([true, false, 2]);
  });

  it('supports weights: light 1, medium 5, heavy 20', () => {
    const bucket = tokenBucket(26, 1);
    expect([bucket.allow(20), bucket.allow(5), bucket.allow(1), bucket.allow(1)]).toEqual([true, true, true, false]);
  });

  it('takes half a token twenty times from a bucket of ten', () => {
    const bucket = tokenBucket(10, 1);
    const taken = Array.from({ length: 21 }, () => bucket.allow(0.5)).filter((allowed) => allowed);
    expect(taken).toHaveLength(20);
  });

  it.each([
    [1, 2],
    [0.1, undefined],
  ])('five attempts, one second apart, at %p tokens per second: attempt %p succeeds', async (rate, expected) => {
    const bucket = tokenBucket(1, rate);
    bucket.allow();
    let successful: number | undefined;
    for (let attempt = 1; attempt <= 5 && !successful; attempt++) {
      if (bucket.allow()) successful = attempt;
      else await clock.advance(1000);
    }
    expect(successful).toBe(expected);
  });

  it.each([0, -1])('throws if the number of tokens is %p', (n) => {
    expect(() => tokenBucket(1, 1).allow(n)).toThrow('tokens must be positive');
  });

  it('has the alias try_consume', () => {
    const bucket = tokenBucket(1, 1);
    expect([bucket.tryConsume(), bucket.tryConsume(), bucket.allow()]).toEqual([true, false, false]);
  });
});

describe('wait', () => {
  it('resolves immediately while tokens are available', async () => {
    const bucket = tokenBucket(5, 10);
    for (let i = 0; i < 5; i++) await bucket.wait();
    expect([now(), clock.sleeping]).toEqual([0, 0]);
  });

  it('paces a loop: five at once, then one every 100 ms', async () => {
    const bucket = tokenBucket(5, 10);
    const times: number[] = [];
    const loop = (async () => {
      for (let i = 0; i < 10; i++) {
        await bucket.wait();
        times.push(now());
      }
    })();
    await clock.advance(500);
    await loop;
    expect(times).toEqual([0, 0, 0, 0, 0, 100, 200, 300, 400, 500]);
  });

  it('waits for a batch: one token per item', async () => {
    const bucket = tokenBucket(5, 10);
    await bucket.wait(5);
    const batch = bucket.wait(['a', 'b', 'c'].length).then(now);
    await clock.advance(300);
    expect(await batch).toBe(300);
  });

  it('waits for a cost computed from the size: one token per hundred bytes', async () => {
    const bucket = tokenBucket(20, 100);
    await bucket.wait(2000 / 100);
    const resolved = bucket.wait(150 / 100).then(now);
    await clock.advance(15);
    expect(await resolved).toBe(15);
  });

  it('resolves waiters in FIFO order, which the original does not guarantee', async () => {
    const bucket = tokenBucket(1, 1);
    const order: string[] = [];
    const all = ['a', 'b', 'c', 'd'].map((name) => bucket.wait().then(() => order.push(`${name} at ${now()}`)));
    await clock.advance(3000);
    await Promise.all(all);
    expect(order).toEqual(['a at 0', 'b at 1000', 'c at 2000', 'd at 3000']);
  });

  it('rejects more than the capacity, whereas the original waits forever', async () => {
    const message = 'tokens must be at most the capacity of 5, got 6';
    await expect(tokenBucket(5, 1).wait(6)).rejects.toThrow(new RangeError(message));
  });
});

describe('RateLimitExceeded', () => {
  it('can be created by the application from a denied decision', async () => {
    clock = new FakeClock();
    const bucket = new BucketService(new MemoryStore({ clock })).bucket({ capacity: 1, refill: 1 }, 'key');
    await bucket.tryConsume();
    const exceeded = new RateLimitExceededException(await bucket.decide());
    expect([exceeded.getStatus(), exceeded.message, exceeded.decision.retryAfter]).toEqual([
      429,
      'Too Many Requests',
      1000,
    ]);
    await expect(bucket.consume(1, { maxWait: 0 })).rejects.toEqual(exceeded);
  });
});

describe('Thread safety', () => {
  it('allows exactly 100 of 1,000 concurrent calls on a shared bucket of 100', async () => {
    const bucket = tokenBucket(100, 1);
    const worker = async () => bucket.allow();
    const results = await Promise.all(Array.from({ length: 1000 }, worker));
    expect(results.filter((allowed) => allowed)).toHaveLength(100);
  });

  it('does not limit workers that each create their own bucket', async () => {
    const results = Array.from({ length: 4 }, () => tokenBucket(5, 1)).map((own) => own.allow(5));
    expect(results).toEqual([true, true, true, true]);
  });
});

describe('Equal capacity and rate', () => {
  it('allows up to ten in the first second, contrary to "5 and 5, so 5 per second, no burst"', async () => {
    const bucket = tokenBucket(5, 5);
    let allowed = 0;
    for (let i = 0; i < 1000; i++) {
      if (bucket.allow()) allowed++;
      await clock.advance(1);
    }
    expect(allowed).toBe(9); // the tenth follows at exactly one second
    expect(bucket.allow()).toBe(true);
  });
});

describe('Patterns', () => {
  let app: INestApplication;
  afterEach(() => app?.close());

  const start = async (controller: new (...args: never[]) => unknown, options: RateLimitModuleOptions = {}) => {
    clock = new FakeClock();
    const imports = [RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...options })];
    app = await createApp('express', { imports, controllers: [controller] });
  };

  it('1: returns a fallback instead of an error', async () => {
    const bucket = tokenBucket(2, 1);
    const quote = () => (bucket.allow() ? 'fresh' : 'from the cache');
    expect([quote(), quote(), quote()]).toEqual(['fresh', 'fresh', 'from the cache']);
  });

  it('1, in an application: serves rejected requests from the cache', async () => {
    const cache = new Map([['quote', 'from the cache']]);

    @Controller()
    class Quotes {
      @RateLimit({ capacity: 2, refill: 1, onLimited: (context) => cache.get(context.getHandler().name) })
      @Get('quote')
      quote() {
        return 'fresh';
      }

      @RateLimit({ capacity: 1, refill: 1, onLimited: (context) => cache.get(context.getHandler().name) })
      @Get('uncached')
      uncached() {
        return 'fresh';
      }
    }
    await start(Quotes);
    const get = async (path: string) => {
      const { status, text } = await request(app.getHttpServer()).get(path);
      return status === 200 ? text : status;
    };
    expect([await get('/quote'), await get('/quote'), await get('/quote')]).toEqual([
      'fresh',
      'fresh',
      'from the cache',
    ]);
    expect([await get('/uncached'), await get('/uncached')]).toEqual(['fresh', 429]);
  });

  it('2: blocks with a timeout and takes no tokens after it', async () => {
    const bucket = tokenBucket(1, 0.1);
    await bucket.wait();
    await expect(bucket.wait(1, { timeout: '5s' })).rejects.toMatchObject({ name: 'TimeoutError' });
    expect(now()).toBe(0); // rejected immediately, not after five seconds
    await clock.advance(10_000);
    expect(bucket.available).toBe(1);
  });

  it('3: charges weights: read 1, write 5, delete 10', async () => {
    const policy = { name: 'items', capacity: 20, refill: 1 };

    @Controller()
    class Items {
      @RateLimit(policy)
      @Get()
      read() {}

      @RateLimit({ ...policy, cost: 5 })
      @Put()
      write() {}

      @RateLimit({ ...policy, cost: 10 })
      @Delete()
      remove() {}
    }
    await start(Items, { headers: 'legacy' });
    const left = async (method: 'get' | 'put' | 'delete') => {
      const { headers } = await request(app.getHttpServer())[method]('/');
      return headers['x-ratelimit-remaining'];
    };
    expect([await left('get'), await left('put'), await left('delete')]).toEqual(['19', '14', '4']);
  });

  it('4: computes the cost from the payload: one token per thousand characters, at least one', async () => {
    const payloadOf = (context: ExecutionContext) =>
      context.switchToHttp().getRequest<{ body: { payload: string } }>().body.payload;

    @Controller()
    class Payloads {
      @RateLimit({
        capacity: 10,
        refill: 1,
        cost: (context) => Math.max(1, Math.floor(payloadOf(context).length / 1000)),
      })
      @Post()
      take(@Body('payload') payload: string) {
        return payload.length;
      }
    }
    await start(Payloads, { headers: 'legacy' });
    const left = async (length: number) => {
      const payload = 'x'.repeat(length);
      const { headers } = await request(app.getHttpServer()).post('/').send({ payload });
      return headers['x-ratelimit-remaining'];
    };
    expect([await left(10), await left(999), await left(5999)]).toEqual(['9', '8', '3']);
  });

  it('5: limits by tier: premium 1,000, standard 100, free 10', async () => {
    const tierOf = (context: ExecutionContext) =>
      context.switchToHttp().getRequest<{ headers: Record<string, string> }>().headers['x-tier'] ?? 'free';

    @Controller()
    class Tiers {
      @RateLimit(tierOf)
      @Get()
      hello() {}
    }
    const policies = {
      premium: { capacity: 1000, refill: 1000 },
      standard: { capacity: 100, refill: 100 },
      free: { capacity: 10, refill: 10 },
    };
    await start(Tiers, { policies });
    const get = (tier: string) => request(app.getHttpServer()).get('/').set('x-tier', tier);
    expect((await get('premium')).headers.ratelimit).toBe('"premium";r=999;t=1');
    expect((await get('standard')).headers.ratelimit).toBe('"standard";r=99;t=1');
    for (let i = 0; i < 10; i++) expect((await get('free')).status).toBe(200);
    expect((await get('free')).status).toBe(429);
  });

  it('6: paces a queue with four workers that wait for a token before each job', async () => {
    const bucket = tokenBucket(50, 100);
    const jobs = Array.from({ length: 150 }, (_, i) => i);
    const done: number[] = [];
    const worker = async () => {
      for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) {
        await bucket.wait();
        done.push(job);
      }
    };
    const workers = Array.from({ length: 4 }, worker);
    await clock.advance(0);
    expect(done).toHaveLength(50);
    await clock.advance(500);
    expect(done).toHaveLength(100);
    await clock.advance(500);
    await Promise.all(workers);
    expect(done.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 150 }, (_, i) => i));
  });

  it('7: limits uploads: ten tokens per megabyte, ten megabytes at once, then ten per second', async () => {
    const bucket = tokenBucket(100, 100);
    const megabytes = () => Array.from({ length: 11 }, () => bucket.allow(10)).filter((allowed) => allowed).length;
    expect(megabytes()).toBe(10);
    await clock.advance(1000);
    expect(megabytes()).toBe(10);
  });
});
