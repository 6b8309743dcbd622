import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Redis } from 'ioredis';
import { FakeClock } from 'nest-rate-limit/testing';
import type { Subscription } from '../../../src/stores/redis/clients/client-port.js';
import { IoredisPort } from '../../../src/stores/redis/clients/ioredis-port.js';
import { RedisSubscriber } from '../../../src/stores/redis/redis-subscriber.js';
import { closeBuckets, log, openBuckets } from '../../support/buckets.js';
import { freePort, type RedisServer, startRedis } from '../../support/redis.js';
import { until } from '../../support/requests.js';

const POOL = { name: 'pool', capacity: 2, refill: 0 };
const failure = { mode: 'closed', timeout: '5s' } as const;

closeBuckets();
let server: RedisServer;
let admin: Redis;
const cleanups: (() => unknown)[] = [];
beforeAll(async () => {
  server = await startRedis();
  admin = new Redis(server.url);
});
afterEach(async () => {
  jest.restoreAllMocks();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await admin.flushall();
});
afterAll(async () => {
  admin.disconnect();
  await server.kill();
});

function client(url: string, options = {}): Redis {
  const redis = new Redis(url, { retryStrategy: () => 20, ...options });
  redis.on('error', () => {});
  cleanups.push(() => redis.disconnect());
  return redis;
}

const portFor = (redis: Redis) => new IoredisPort(redis as never);

/** A load balancer that can forget its connections: they stay open, but nothing passes them any more. */
class Balancer {
  private readonly sockets: Socket[] = [];
  private forgotten = new Set<Socket>();

  private constructor(private readonly server: Server) {}

  static async start(target: number): Promise<Balancer> {
    const balancer = new Balancer(createServer((from) => balancer.relay(from, connect(target, '127.0.0.1'))));
    balancer.server.listen(0, '127.0.0.1');
    await once(balancer.server, 'listening');
    return balancer;
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  forget(): void {
    this.forgotten = new Set(this.sockets);
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }

  private relay(from: Socket, to: Socket): void {
    for (const [one, other] of [
      [from, to],
      [to, from],
    ]) {
      this.sockets.push(one);
      one.on('data', (data) => {
        if (!this.forgotten.has(one)) other.write(data);
      });
      one.on('error', () => {});
      one.on('close', () => other.destroy());
    }
  }
}

describe('RedisSubscriber', () => {
  describe('checks its connection every 5 s', () => {
    beforeEach(() => {
      jest.useFakeTimers({
        doNotFake: ['Date', 'setTimeout', 'setImmediate', 'nextTick', 'queueMicrotask', 'performance'],
      });
    });
    afterEach(() => {
      jest.useRealTimers();
    });
    const beat = () => jest.advanceTimersByTime(5000);

    /** Subscribes once; `calls` counts the messages, and the subscriptions themselves. */
    async function subscribed(url: string) {
      const port = portFor(client(url, { disconnectTimeout: 20 }));
      const open = jest.spyOn(port, 'openSubscription');
      const subscriber = new RedisSubscriber(port);
      cleanups.push(() => subscriber.close());
      const listener = jest.fn();
      subscriber.subscribe('channel', listener);
      const calls = () => listener.mock.calls.length;
      await until(() => calls() === 1);
      const connection = open.mock.results[0].value as Subscription;
      return { calls, check: jest.spyOn(connection, 'check'), reconnect: jest.spyOn(connection, 'reconnect') };
    }

    it('and opens another one when it has fallen silent', async () => {
      const balancer = await Balancer.start(server.port);
      cleanups.push(() => balancer.close());
      const { calls } = await subscribed(balancer.url);
      balancer.forget();
      beat();
      beat();
      await until(() => calls() === 2); // it has subscribed again
      await admin.publish('channel', '');
      await until(() => calls() === 3);
    });

    it('and keeps it while it is idle', async () => {
      const { calls, check, reconnect } = await subscribed(server.url);
      for (let i = 0; i < 5; i++) {
        beat();
        await check.mock.results[i].value;
      }
      expect(check).toHaveBeenCalledTimes(5);
      expect(reconnect).not.toHaveBeenCalled();
      expect(calls()).toBe(1);
    });

    it('and keeps it if the event loop has yet to read the reply', async () => {
      const { check, reconnect } = await subscribed(server.url);
      check.mockImplementation(() => new Promise(setImmediate));
      beat();
      beat();
      await new Promise(setImmediate);
      expect(check).toHaveBeenCalledTimes(1);
      expect(reconnect).not.toHaveBeenCalled();
    });
  });

  it.each([
    ['gives up', { retryStrategy: () => null }],
    ['waits for an hour', { retryStrategy: () => 3_600_000 }],
  ])('reconnects, although the given client %s', async (_, options) => {
    const port = await freePort();
    const first = await startRedis({ port });
    const subscriber = new RedisSubscriber(portFor(client(first.url, options)));
    cleanups.push(() => subscriber.close());
    let calls = 0;
    subscriber.subscribe('channel', () => calls++);
    await until(() => calls === 1);
    await first.kill();
    const second = await startRedis({ port });
    cleanups.unshift(() => second.kill());
    await until(() => calls === 2); // it has subscribed again
  });

  it('queues no commands while Redis is away, and subscribes when it is back', async () => {
    const port = await freePort();
    const own = client(`redis://127.0.0.1:${port}`, { maxRetriesPerRequest: null });
    const duplicate = jest.spyOn(own, 'duplicate');
    const subscriber = new RedisSubscriber(portFor(own));
    cleanups.push(() => subscriber.close());
    const stops = Array.from({ length: 500 }, (_, i) => subscriber.subscribe(`channel-${i}`, () => {}));
    for (const stop of stops) stop();
    let calls = 0;
    subscriber.subscribe('kept', () => calls++);
    const [{ value: second }] = duplicate.mock.results as { value: unknown }[];
    expect((second as { offlineQueue: { length: number } }).offlineQueue.length).toBe(0);
    const started = await startRedis({ port });
    cleanups.unshift(() => started.kill());
    await until(() => calls === 1);
    const other = client(started.url);
    expect(await other.call('PUBSUB', 'CHANNELS')).toEqual(['kept']);
    await other.publish('kept', '');
    await until(() => calls === 2);
  });
});

describe('Bucket.watch', () => {
  it('checks its bucket every five seconds if Redis rejects SUBSCRIBE, and says so once', async () => {
    await admin.acl('SETUSER', 'default', '-subscribe');
    cleanups.push(() => admin.acl('SETUSER', 'default', '+subscribe'));
    const clock = new FakeClock();
    const { buckets } = await openBuckets({
      store: { redis: server.url, clock },
      failure,
    });
    const bucket = buckets.bucket(POOL, 'key');
    await bucket.consumeUpTo(2);
    const watching = Promise.all([bucket.watch(), bucket.watch()]);
    await until(() => clock.sleeping === 2 && log.lines.length === 1);
    await bucket.put();
    await clock.advance(4999);
    expect(clock.sleeping).toBe(2);
    await clock.advance(1);
    await watching;
    expect(log.lines).toEqual([
      expect.stringMatching(/^warn: Redis rejects SUBSCRIBE, so `watch` checks its bucket every 5 s: NOPERM/),
    ]);
  });
});
