import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, Query } from '@nestjs/common';
import { BucketService, type EffectMessage, RateLimit, RateLimitModule, RateLimitStore } from 'nest-rate-limit';
import request from 'supertest';
import { closeBuckets, openBuckets } from '../support/buckets.js';
import { ADAPTERS, createApp } from '../support/create-app.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { until } from '../support/requests.js';
import { TcpProxy } from '../support/tcp-proxy.js';

const LOGIN = { name: 'login', maxRequest: 5, unit: 'hours' } as const;
const BUDGET = { name: 'budget', capacity: 1000, refill: 0 } as const;
const PREFIX = 'outages:';
/** ms. Long enough for a busy machine. */
const TIMEOUT = 250;

const messages: EffectMessage[] = [];
let onQueued = () => {};
const collect = (message: unknown) => {
  messages.push(message as EffectMessage);
  if ((message as EffectMessage).event === 'queued') onQueued();
};
const countOf = (event: EffectMessage['event']) =>
  messages.filter((message) => message.event === event).reduce((sum, { count }) => sum + count, 0);

/** What happens while a handler runs. */
let during = () => {};
let release = () => {};
let running = 0;

@Controller()
class Resource {
  @RateLimit({ ...LOGIN, key: 'ada', settle: 'failures' })
  @Get('login')
  login() {
    during();
  }

  @RateLimit({ ...BUDGET, key: 'tenant', cost: 10, settle: (_context, { value }) => value as number })
  @Get('answer')
  async answer(@Query('costs') costs: string) {
    running++;
    await new Promise<void>((resolve) => {
      const before = release;
      release = () => {
        before();
        resolve();
      };
    });
    return Number(costs);
  }
}

describe.each(ADAPTERS)('Settlement while Redis is unavailable, on %s', (adapter) => {
  let server: RedisServer;
  let proxy: TcpProxy;
  let app: INestApplication;
  let direct: BucketService;
  closeBuckets();
  beforeAll(async () => {
    server = await startRedis();
    proxy = await TcpProxy.open(server.port);
    subscribe('nest-rate-limit:effect', collect);
  });
  afterAll(async () => {
    unsubscribe('nest-rate-limit:effect', collect);
    await proxy.close();
    await server.kill();
  });
  beforeEach(async () => {
    messages.length = 0;
    during = release = onQueued = () => {};
    running = 0;
    app = await createApp(adapter, {
      imports: [
        RateLimitModule.forRoot({ store: { redis: proxy.url, prefix: PREFIX }, failure: { timeout: TIMEOUT } }),
      ],
      controllers: [Resource],
    });
    await app.listen(0, '127.0.0.1');
    ({ buckets: direct } = await openBuckets({
      store: { redis: server.url, prefix: PREFIX },
      failure: { timeout: '5s' },
    }));
    await direct.bucket(LOGIN, 'ada').reset();
    await direct.bucket(BUDGET, 'tenant').reset();
    await reaches();
  });
  afterEach(async () => {
    proxy.repair();
    await app.close();
  });

  const get = async (path: string) => (await request(app.getHttpServer()).get(path)).status;
  /** Waits until the application reaches Redis. */
  const reaches = () => {
    const bucket = app.get(BucketService).bucket(BUDGET, 'other');
    return until(async () => (await bucket.estimate()).source === 'store', 4000, 10);
  };
  const goDown = async () => {
    proxy.break();
    const bucket = app.get(BucketService).bucket(BUDGET, 'other');
    await until(async () => {
      await bucket.estimate();
      return app.get(RateLimitStore).health().status === 'down';
    });
  };
  const settled = () => until(() => countOf('queued') === countOf('applied') + countOf('dropped'));

  it('refunds log-ins that succeed while Redis is suspended for a moment', async () => {
    during = () => server.pause();
    onQueued = () => server.resume();
    for (let i = 0; i < 6; i++) {
      expect(await get('/login')).toBe(200);
      await until(() => countOf('queued') === i + 1);
      await settled();
      await reaches();
    }
    expect(await direct.bucket(LOGIN, 'ada').available()).toBe(5);
    expect(countOf('dropped')).toBe(0);
  });

  it('refunds log-ins whose connection is cut', async () => {
    during = () => proxy.cut();
    for (let i = 0; i < 6; i++) {
      expect(await get('/login')).toBe(200);
      await until(() => countOf('queued') === i + 1);
      await settled();
      await reaches();
    }
    expect(await direct.bucket(LOGIN, 'ada').available()).toBe(5);
  });

  it('balances the budget after an outage during which requests end', async () => {
    const costs = [0, 3, 10, 17, 40, 10, 1, 25];
    const answers = costs.map((cost) => get(`/answer?costs=${cost}`));
    await until(() => running === costs.length);
    expect(await direct.bucket(BUDGET, 'tenant').available()).toBe(1000 - 10 * costs.length);
    await goDown();
    release();
    expect(await Promise.all(answers)).toEqual(costs.map(() => 200));
    await until(() => countOf('queued') === costs.filter((cost) => cost !== 10).length);
    proxy.repair();
    await settled();
    expect(await direct.bucket(BUDGET, 'tenant').available()).toBe(1000 - costs.reduce((sum, cost) => sum + cost));
  });

  it('reports to Redis what locally admitted requests cost beyond their estimate', async () => {
    await goDown();
    const answers = [3, 25].map((cost) => get(`/answer?costs=${cost}`));
    await until(() => running === 2);
    release();
    expect(await Promise.all(answers)).toEqual([200, 200]);
    const bucket = app.get(BucketService).bucket(BUDGET, 'tenant');
    await until(async () => (await bucket.available()) === 1000 - 3 - 25);
    proxy.repair();
    await until(() => countOf('queued') === 1);
    await settled();
    expect(await direct.bucket(BUDGET, 'tenant').available()).toBe(1000 - 15);
  });

  it('settles costs at shutdown if Redis is back within two seconds', async () => {
    const answer = get('/answer?costs=4');
    await until(() => running === 1);
    await goDown();
    release();
    expect(await answer).toBe(200);
    await until(() => countOf('queued') === 1);
    const closed = app.close();
    proxy.repair();
    await closed;
    expect(await direct.bucket(BUDGET, 'tenant').available()).toBe(996);
  });
});
