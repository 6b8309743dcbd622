import { Agent, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, type OnModuleDestroy, StreamableFile } from '@nestjs/common';
import type { Redis } from 'ioredis';
import { BucketService, RateLimit, RateLimitModule, RedisStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { ADAPTERS, createApp, storeOptions } from '../support/create-app.js';
import { connection } from '../support/faults.js';
import { measured } from '../support/lag.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { clockedStore, until } from '../support/requests.js';

const COUNT = 1000;
let handled = 0;
let app: INestApplication | undefined;
let agent: Agent | undefined;
afterEach(async () => {
  agent?.destroy();
  await app?.close();
});

@Controller()
class Resource {
  @RateLimit({ capacity: 1, refill: 1, unit: 'hour', maxWait: '365d', key: 'all', settle: 'successes' })
  @Get('queue')
  queue() {
    handled++;
  }
}

/** Returns the timers and immediates that keep this process alive. Sockets do not count. */
function timers(): string[] {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout' || name === 'Immediate');
}

describe('Shutdown with 1,000 queued requests', () => {
  // All combinations would take too long.
  it.each([
    { adapter: 'express', store: 'memory', kind: 'closes its connections' },
    { adapter: 'fastify', store: 'redis', kind: 'keeps its connections' },
  ] as const)(
    'does not wait for them on $adapter with the $store store, if the client $kind',
    async ({ adapter, store, kind }) => {
      handled = 0;
      const clock = new FakeClock();
      const before = timers().length;
      app = await createApp(adapter, {
        imports: [RateLimitModule.forRoot(clockedStore(store, clock))],
        controllers: [Resource],
      });
      await app.listen(0, '127.0.0.1');
      const server = app.getHttpServer();
      const { port } = server.address() as AddressInfo;
      agent = new Agent({ keepAlive: kind === 'keeps its connections', maxSockets: COUNT });
      const clientAgent = agent;
      const responses: { listenerCount(event: string): number }[] = [];
      server.on('request', (_: unknown, response: { listenerCount(event: string): number }) =>
        responses.push(response),
      );
      const statuses: number[] = [];
      const call = () =>
        get({ port, path: '/queue', agent: clientAgent }, (response) => {
          statuses.push(response.statusCode ?? 0);
          response.resume();
        });
      call();
      await until(() => statuses.length === 1);
      const beforeQueueing = process.cpuUsage();
      for (let i = 0; i < COUNT; i++) call();
      await until(() => clock.sleeping === 2 * COUNT, 15_000);
      const queueing = process.cpuUsage(beforeQueueing);
      const beforeClosing = process.cpuUsage();
      const { ms } = await measured(app.close.bind(app));
      const closing = process.cpuUsage(beforeClosing);
      expect(ms).toBeLessThan(1000);
      // About as much work as queueing them, at most: how long it takes depends on the machine.
      expect(closing.user + closing.system).toBeLessThan(2 * (queueing.user + queueing.system));
      await until(() => statuses.length === COUNT + 1, 15_000);
      agent.destroy();
      expect(statuses).toEqual([200, ...new Array<number>(COUNT).fill(503)]);
      expect(handled).toBe(1);
      expect(clock.sleeping).toBe(0);
      // The server and the framework add listeners, too, so compare with the response that was not queued.
      const usual = responses[0].listenerCount('close') + responses[0].listenerCount('disconnect');
      expect(Math.max(...responses.map((one) => one.listenerCount('close') + one.listenerCount('disconnect')))).toBe(
        usual,
      );
      await until(() => timers().length <= before);
    },
  );
});

describe.each(ADAPTERS)('Shutdown on %s with the real clock', (adapter) => {
  it('leaves no timers running', async () => {
    handled = 0;
    const before = timers().length;
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot(storeOptions('memory'))],
      controllers: [Resource],
    });
    await app.listen(0, '127.0.0.1');
    const { port } = app.getHttpServer().address() as AddressInfo;
    let arrived = 0;
    app.getHttpServer().on('request', () => arrived++);
    const statuses: number[] = [];
    const clients = [...new Array(20)].map(() =>
      get({ port, path: '/queue', agent: false }, (response) => {
        statuses.push(response.statusCode ?? 0);
        response.resume();
      }).on('error', () => {}),
    );
    await until(() => arrived === 20);
    for (const client of clients.slice(0, 10)) client.destroy();
    await app.close();
    await until(() => statuses.length >= 10);
    expect(statuses.filter((status) => status === 503).length).toBeGreaterThanOrEqual(9);
    expect(handled).toBe(1);
    await until(() => timers().length <= before);
  });
});

const LOGIN = { name: 'login', capacity: 5, refill: 0 } as const;
const started: string[] = [];

/** Its handlers succeed once the application begins to close. */
@Controller()
class LogIn implements OnModuleDestroy {
  private release = () => {};
  private readonly closing = new Promise<void>((resolve) => {
    this.release = resolve;
  });

  onModuleDestroy() {
    this.release();
  }

  @RateLimit({ ...LOGIN, key: 'all', settle: 'failures' })
  @Get('failures')
  failures() {
    started.push('failures');
    return this.closing;
  }

  @RateLimit({ ...LOGIN, key: 'all', settle: async () => 0 })
  @Get('function')
  function() {
    started.push('function');
    return this.closing;
  }

  @RateLimit({ ...LOGIN, key: 'all', settle: (_context, { error }) => (error ? 3 : 0) })
  @Get('left')
  left() {
    started.push('left');
    return new StreamableFile(new Readable({ read() {} }));
  }

  @RateLimit({ ...LOGIN, key: 'all', settle: () => new Promise<number>(() => {}) })
  @Get('never')
  never() {
    started.push('never');
    return this.closing;
  }
}

describe.each(ADAPTERS)('Settlement on %s while the application closes', (adapter) => {
  let redis: RedisServer;
  let control: Redis;
  beforeAll(async () => {
    redis = await startRedis();
    control = connection(redis.url);
  });
  afterAll(async () => {
    control.disconnect();
    await redis.stop();
  });
  /** Starts an application and sends a request to `path`. Resolves once its handler runs. */
  const withRequest = async (path: string) => {
    started.length = 0;
    await control.flushall();
    const options = { store: { redis: redis.url }, failure: { timeout: '10s' } } as const;
    const app = await createApp(adapter, { imports: [RateLimitModule.forRoot(options)], controllers: [LogIn] });
    await app.listen(0, '127.0.0.1');
    const { port } = app.getHttpServer().address() as AddressInfo;
    const client = get({ port, path, agent: false }).on('error', () => {});
    await until(() => started.length === 1);
    expect(await left()).toBe(4);
    return { app, client };
  };
  const left = async () => {
    const store = await RedisStore.connect(redis.url);
    const available = new BucketService(store).bucket(LOGIN, 'all').available();
    return available.finally(() => store.close());
  };

  it.each(['failures', 'function'])('refunds the unused cost of a running request: /%s', async (path) => {
    const { app } = await withRequest(`/${path}`);
    // Redis replies only after an application that does not wait for settlement has closed.
    await control.client('PAUSE', 300);
    await app.close();
    expect(await left()).toBe(5);
  });

  it('settles a request whose client disconnects while the application waits for it', async () => {
    const { app, client } = await withRequest('/left');
    app.getHttpServer().once('close', () => started.push('closed'));
    const closed = app.close();
    client.destroy();
    await closed;
    expect(started).toEqual(['left', 'closed']);
    expect(await left()).toBe(2);
  });

  it('does not wait forever for a settle function', async () => {
    const { app } = await withRequest('/never');
    await app.close();
    expect(await left()).toBe(4);
  });
});
