import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication } from '@nestjs/common';
import {
  BucketService,
  type Clock,
  type Decision,
  type DecisionMessage,
  MemoryStore,
  RateLimit,
  RateLimitModule,
  type RateLimitModuleOptions,
  RateLimitStoreError,
  type StoreMessage,
  type Take,
  type WaitMessage,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import * as channels from '../../src/observe/channels.js';
import { publishDecision, publishWait } from '../../src/observe/messages.js';
import { createApp } from '../support/create-app.js';
import { FarStore } from '../support/far-store.js';
import { statuses, until } from '../support/requests.js';

const ONE = { capacity: 1, refill: 1 } as const;

@Controller()
class Resource {
  @RateLimit({ ...ONE, name: 'one', key: 'shared' })
  @Get('one')
  one() {}

  @RateLimit({ ...ONE, name: 'queue', key: 'shared', maxWait: '1m' })
  @Get('queue')
  queue() {}

  @RateLimit({ ...ONE, name: 'dry', key: 'dry-key', dryRun: true })
  @RateLimit({ capacity: 5, refill: 1, name: 'real', key: 'user' })
  @RateLimit({
    limits: [
      { ...ONE, name: 'short' },
      { capacity: 9, refill: 1 },
    ],
    name: 'both',
    key: 'pair',
  })
  @Get('several')
  several() {}

  @Get('free')
  free() {}
}

/** Subscribes to all channels and records their messages. */
function listen() {
  const messages: Record<string, unknown[]> = {};
  const listeners: [string, (message: unknown) => void][] = [];
  for (const name of [channels.DECISION, channels.WAIT, channels.STORE, channels.FAILURE, channels.HEALTH]) {
    const all: unknown[] = [];
    messages[name] = all;
    const listener = (message: unknown) => void all.push(message);
    listeners.push([name, listener]);
    subscribe(name, listener);
  }
  return {
    decisions: messages[channels.DECISION] as DecisionMessage[],
    waits: messages[channels.WAIT] as WaitMessage[],
    calls: messages[channels.STORE] as StoreMessage[],
    failures: messages[channels.FAILURE],
    health: messages[channels.HEALTH],
    stop: () => {
      for (const [name, listener] of listeners) unsubscribe(name, listener);
    },
  };
}

describe('Diagnostics channels', () => {
  let messages: ReturnType<typeof listen>;
  let app: INestApplication;
  let clock: FakeClock;
  beforeEach(() => {
    messages = listen();
    clock = new FakeClock();
  });
  afterEach(async () => {
    messages.stop();
    await app.close();
  });
  const start = async (options: RateLimitModuleOptions = {}) => {
    app = await createApp('express', {
      imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...options })],
      controllers: [Resource],
    });
  };

  it('publishes each decision once, and nothing for requests without a limit', async () => {
    await start();
    expect(await statuses(app, '/one', '/one', '/free')).toEqual([200, 429, 200]);
    const common = { policy: 'one', limit: 1, delay: 0, source: 'store', dryRun: false, transport: 'http' };
    expect(messages.decisions).toEqual([
      { ...common, allowed: true, remaining: 0, retryAfter: 0, resetAfter: 1000, key: 'shared' },
      { ...common, allowed: false, remaining: 0, retryAfter: 1000, resetAfter: 1000, key: 'shared' },
    ]);
    expect([...messages.waits, ...messages.calls, ...messages.failures]).toEqual([]);
  });

  it('publishes one decision for several policies, and one for each dry-run policy', async () => {
    await start();
    expect(await statuses(app, '/several', '/several')).toEqual([200, 429]);
    await until(() => messages.decisions.length === 4);
    const published = (isDryRun: boolean) =>
      messages.decisions
        .filter(({ dryRun }) => dryRun === isDryRun)
        .map(({ policy, key, allowed }) => [policy, key, allowed]);
    expect(published(false)).toEqual([
      ['both/short', 'pair', true],
      ['both/short', 'pair', false],
    ]);
    expect(published(true)).toEqual([
      ['dry', 'dry-key', true],
      ['dry', 'dry-key', false],
    ]);
  });

  it('publishes the start and the end of each wait', async () => {
    await start();
    await statuses(app, '/queue');
    const second = statuses(app, '/queue');
    await until(() => messages.waits.length === 1);
    const third = request(app.getHttpServer()).get('/queue');
    const aborted = third.then(
      () => undefined,
      () => undefined,
    );
    await until(() => messages.waits.length === 2);
    third.abort();
    await aborted;
    await until(() => messages.waits.length === 3);
    await clock.advance(1000);
    expect(await second).toEqual([200]);
    expect(messages.waits.map(({ decision: { policy, delay }, end, waited }) => [policy, delay, end, waited])).toEqual([
      ['queue', 1000, undefined, 0],
      ['queue', 2000, undefined, 0],
      ['queue', 2000, 'left', 0],
      ['queue', 1000, 'passed', 1000],
    ]);
    expect(messages.decisions).toHaveLength(3);

    const last = statuses(app, '/queue', '/queue');
    await until(() => messages.waits.length === 5);
    await app.close();
    await last.catch(() => {});
    expect(messages.waits.at(-1)).toMatchObject({ end: 'closed' });
  });

  it('publishes no end of a wait that began without subscribers', async () => {
    await start();
    messages.stop();
    await statuses(app, '/queue');
    const waiting = statuses(app, '/queue');
    await until(() => clock.sleeping > 0);
    messages = listen();
    await clock.advance(1000);
    expect(await waiting).toEqual([200]);
    expect(messages.waits).toEqual([]);
  });

  it('publishes the decisions of decide, tryConsume, consume and decideAll', async () => {
    await start();
    const buckets = app.get(BucketService);
    const bucket = buckets.bucket({ ...ONE, name: 'mail' }, 'ada');
    await bucket.decide();
    await bucket.tryConsume();
    await expect(bucket.consume(1, { maxWait: 0 })).rejects.toThrow();
    await buckets.decideAll([{ policy: { ...ONE, name: 'mail' }, key: 'ada' }]);
    await bucket.estimate();
    await bucket.put();
    expect(messages.decisions.map(({ allowed }) => allowed)).toEqual([true, false, false, false]);
    expect(messages.decisions[0]).toMatchObject({ policy: 'mail', key: 'ada', transport: 'bucket', dryRun: false });

    await bucket.consume();
    const waiting = bucket.consume();
    const controller = new AbortController();
    const aborting = bucket.consume(1, { signal: controller.signal });
    await until(() => messages.waits.length === 2);
    controller.abort();
    await expect(aborting).rejects.toThrow();
    await clock.advance(1000);
    await waiting;
    expect(messages.waits.map(({ end, waited }) => [end, waited])).toEqual([
      [undefined, 0],
      [undefined, 0],
      ['left', 0],
      ['passed', 1000],
    ]);
  });

  it('publishes calls to a remote store, its health, and undecided requests', async () => {
    const store = new FarStore();
    await start({ store, failure: { mode: 'closed', timeout: '5s' } });
    expect(await statuses(app, '/one')).toEqual([200]);
    expect(messages.calls).toEqual([
      { verb: 'take', store: 'FarStore', duration: expect.any(Number), error: undefined },
    ]);
    expect(messages.calls[0].duration).toBeGreaterThan(0);
    store.unavailable = true;
    const paths = new Array<string>(8).fill('/one');
    expect(await statuses(app, ...paths)).toEqual(paths.map(() => 503));
    expect(messages.calls[1]).toMatchObject({ verb: 'take', error: new RateLimitStoreError('simulated failure') });
    expect(messages.failures).toHaveLength(8);
    expect(messages.failures[0]).toMatchObject({ policy: 'one', transport: 'http' });
    expect(messages.health).toEqual([
      { status: 'down', error: expect.any(RateLimitStoreError), since: expect.any(Number) },
    ]);
    expect(messages.calls.length).toBeLessThan(9);
    store.unavailable = false;
    await until(() => messages.health.length === 2);
    expect(messages.health[1]).toEqual({ status: 'up' });
  });
});

it('builds no message without subscribers', () => {
  const untouchable = new Proxy({}, { get: () => expect(true).toBe(false) });
  const args = [untouchable as Decision, untouchable as readonly Take[], 'http'] as const;
  publishDecision(...args);
  const end = publishWait(...args, untouchable as Clock);
  expect(publishWait(...args, untouchable as Clock)).toBe(end);
  end('passed');
});
