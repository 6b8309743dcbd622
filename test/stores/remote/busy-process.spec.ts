import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Get, HttpCode, type INestApplication, Post } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { Redis } from 'ioredis';
import { type DecisionMessage, RateLimit, RateLimitModule, RateLimitStore, RedisStore } from 'nest-rate-limit';
import { closeBuckets, log, openBuckets } from '../../support/buckets.js';
import { ADAPTERS, createApp } from '../../support/create-app.js';
import { type RecordingProxy, recordReplies, suspendThisProcess } from '../../support/recording-proxy.js';
import { type RedisServer, startRedis } from '../../support/redis.js';
import { until } from '../../support/requests.js';
import { TcpProxy } from '../../support/tcp-proxy.js';

/** Longer than the default, so that other processes on the machine rarely delay Redis for as long. */
const TIMEOUT = 200;
const LIMIT = { maxRequest: 100, duration: 1, unit: 'hours' } as const;
const POOL = { name: 'pool', capacity: 1000, refill: 0 };

let redis: RedisServer;
let proxy: RecordingProxy;
let sources: string[] = [];
const record = (message: unknown) => sources.push((message as DecisionMessage).source);

beforeAll(async () => {
  redis = await startRedis();
  proxy = await recordReplies(redis.port);
  subscribe('nest-rate-limit:decision', record);
});
afterAll(async () => {
  unsubscribe('nest-rate-limit:decision', record);
  await proxy.stop();
  await redis.kill();
});
beforeEach(async () => {
  await proxy.slowestReply();
  sources = [];
});
closeBuckets();

/** Blocks this process, as a large template or a synchronous hash does. */
function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** Expects that each decision was made by Redis, unless the proxy or Redis themselves were slow. */
async function expectDecidedByRedis(store: RateLimitStore): Promise<void> {
  const slowest = await proxy.slowestReply();
  if (slowest > TIMEOUT / 2) {
    console.warn(`The machine was busy: Redis or the proxy took ${Math.ceil(slowest)} ms`);
    return;
  }
  expect([...new Set(sources)]).toEqual(['store']);
  expect(store.health()).toEqual({ status: 'up' });
  expect(Api.ran).toBeLessThanOrEqual(100);
  expect(log.lines).toEqual([]);
}

@Controller()
class Api {
  static ran = 0;

  @RateLimit({ name: 'code', ...LIMIT, key: () => 'key' })
  @Get('code')
  code(): number {
    return ++Api.ran;
  }

  @RateLimit({ name: 'upload', ...LIMIT, key: () => 'key' })
  @Post('upload')
  @HttpCode(200)
  upload(@Body() body: { items: number[] }): number {
    Api.ran++;
    return body.items.length;
  }

  @Get('render')
  render(): string {
    block(TIMEOUT * 1.2);
    return 'rendered';
  }
}

const BODY = JSON.stringify({ items: Array.from({ length: 40_000 }, (_, i) => i % 10_000) });

describe.each(ADAPTERS)('a busy process on %s', (adapter) => {
  let app: INestApplication;
  let port: number;
  let agent: Agent;

  beforeEach(async () => {
    Api.ran = 0;
    await redisCommand((client) => client.flushall());
    app = await createApp(
      adapter,
      {
        imports: [
          RateLimitModule.forRoot({ store: { redis: proxy.url, denyCache: false }, failure: { timeout: TIMEOUT } }),
        ],
        controllers: [Api],
      },
      (created) => {
        created.useLogger(false);
        if (adapter === 'express') (created as NestExpressApplication).useBodyParser('json', { limit: '1mb' });
      },
    );
    await app.listen(0, '127.0.0.1');
    port = Number(new URL(await app.getUrl()).port);
    agent = new Agent({ keepAlive: true, maxSockets: 50 });
  });
  afterEach(async () => {
    agent.destroy();
    await app.close();
  });

  const send = (method: string, path: string, body?: string) =>
    new Promise<number>((resolve, reject) => {
      const headers = body ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } : {};
      request({ port, path, method, agent, headers }, (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode ?? 0));
      })
        .on('error', reject)
        .end(body);
    });

  it('decides in Redis while another handler blocks it', async () => {
    for (let i = 0; i < 6; i++) {
      const codes = Array.from({ length: 30 }, () => send('GET', '/code'));
      await Promise.all([...codes, send('GET', '/render')]);
    }
    await expectDecidedByRedis(app.get(RateLimitStore));
  });

  it('decides in Redis during bursts of large bodies', async () => {
    for (let i = 0; i < 4; i++) await Promise.all(Array.from({ length: 50 }, () => send('POST', '/upload', BODY)));
    await expectDecidedByRedis(app.get(RateLimitStore));
    expect(Api.ran).toBeGreaterThanOrEqual(100);
  });

  it('decides in Redis while the process is suspended again and again', async () => {
    let done = false;
    const clients = Array.from({ length: 10 }, async () => {
      while (!done) {
        await send('GET', '/code');
        await sleep(3);
      }
    });
    await suspendThisProcess(50, TIMEOUT * 1.5, 8);
    done = true;
    await Promise.all(clients);
    await expectDecidedByRedis(app.get(RateLimitStore));
  });
});

async function redisCommand<T>(use: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(redis.url);
  try {
    return await use(client);
  } finally {
    client.disconnect();
  }
}

describe('the deadline', () => {
  it('starts when a command is sent, not when the request is made', async () => {
    const { buckets, module } = await openBuckets({ store: { redis: proxy.url }, failure: { timeout: TIMEOUT } });
    const bucket = buckets.bucket(POOL, 'queued');
    await bucket.available();
    const asked = Array.from({ length: 40 }, () => bucket.decide());
    block(TIMEOUT * 1.5);
    await Promise.all(asked);
    await expectDecidedByRedis(module.get(RateLimitStore));
  });

  it('waits for a whole poll phase if its timer fires late', async () => {
    const { buckets, module } = await openBuckets({ store: { redis: proxy.url }, failure: { timeout: TIMEOUT } });
    const bucket = buckets.bucket(POOL, 'sent');
    await bucket.available();
    const asked = Array.from({ length: 40 }, () => bucket.decide());
    await new Promise(setImmediate);
    block(TIMEOUT * 1.5);
    await Promise.all(asked);
    await expectDecidedByRedis(module.get(RateLimitStore));
  });

  it('starts again if Redis lacks the script and the process was busy', async () => {
    const { buckets, module } = await openBuckets({ store: { redis: proxy.url }, failure: { timeout: TIMEOUT } });
    const bucket = buckets.bucket(POOL, 'script');
    await bucket.available();
    await redisCommand((client) => client.script('FLUSH'));
    const asked = Array.from({ length: 40 }, () => bucket.decide());
    await new Promise(setImmediate);
    block(TIMEOUT * 1.5);
    await Promise.all(asked);
    await expectDecidedByRedis(module.get(RateLimitStore));
    expect(await bucket.available()).toBe(960);
  });

  it('is kept while Redis is suspended, although the process is busy', async () => {
    const { buckets, store } = await openBuckets({ store: { redis: redis.url }, failure: { timeout: 50 } });
    const bucket = buckets.bucket(POOL, 'late');
    await until(async () => (await bucket.estimate()).source === 'store');
    redis.pause();
    try {
      // Each miss is no evidence, because the process was late itself.
      for (let i = 0; i < 8; i++) {
        const decision = bucket.decide();
        await new Promise(setImmediate);
        block(100);
        expect((await decision).source).toBe('fallback');
      }
      expect(store.health().status).toBe('up');
      expect(log.lines).toEqual([]);
    } finally {
      redis.resume();
    }
    await until(async () => (await bucket.estimate()).source === 'store');
    // Nothing was taken late.
    expect(await bucket.available()).toBe(1000);
  });

  it('includes the first connection of a client without an offline queue', async () => {
    const front = await TcpProxy.open(redis.port);
    front.onReply = () => 'keep';
    const client = new Redis(front.url, { enableOfflineQueue: false, socketTimeout: 2000 });
    const store = new RedisStore({ client, timeout: 10_000 });
    const { buckets } = await openBuckets({ store, failure: { timeout: 10_000 } });
    const decisions = Promise.all(['a', 'b', 'c'].map((key) => buckets.bucket(POOL, key).decide()));
    expect(client.status).not.toBe('ready');
    front.repair();
    expect((await decisions).map(({ source }) => source)).toEqual(['store', 'store', 'store']);
    client.disconnect();
    await front.close();
  });

  it('does not delay decisions if the first connection fails', async () => {
    const client = new Redis('redis://127.0.0.1:1', {
      enableOfflineQueue: false,
      retryStrategy: () => null,
      disconnectTimeout: 10,
    });
    client.on('error', () => {});
    const store = new RedisStore({ client, timeout: 10_000 });
    const { buckets } = await openBuckets({ store, failure: { timeout: 10_000 } });
    expect((await buckets.bucket(POOL, 'a').decide()).source).toBe('fallback');
    client.disconnect();
  });
});
