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
import { tellDecision, tellWait } from '../../src/observe/messages.js';
import { createApp } from '../support/create-app.js';
import { FarStore } from '../support/far-store.js';
import { statuses, until } from '../support/requests.js';

const ONE = { capacity: 1, refill: 1 } as const;

@Controller()
class Resource {
  @RateLimit({ ...ONE, name: 'one', key: 'everybody' })
  @Get('one')
  one() {}

  @RateLimit({ ...ONE, name: 'line', key: 'everybody', maxWait: '1m' })
  @Get('line')
  line() {}

  @RateLimit({ ...ONE, name: 'trial', key: 'trier', dryRun: true })
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

/** What the channels say from now on. */
function listen() {
  const heard: Record<string, unknown[]> = {};
  const listeners: [string, (message: unknown) => void][] = [];
  for (const name of [channels.DECISION, channels.WAIT, channels.STORE, channels.FAILURE, channels.HEALTH]) {
    const all: unknown[] = [];
    heard[name] = all;
    const listener = (message: unknown) => void all.push(message);
    listeners.push([name, listener]);
    subscribe(name, listener);
  }
  return {
    decisions: heard[channels.DECISION] as DecisionMessage[],
    waits: heard[channels.WAIT] as WaitMessage[],
    calls: heard[channels.STORE] as StoreMessage[],
    failures: heard[channels.FAILURE],
    health: heard[channels.HEALTH],
    stop: () => {
      for (const [name, listener] of listeners) unsubscribe(name, listener);
    },
  };
}

describe('the channels', () => {
  let heard: ReturnType<typeof listen>;
  let app: INestApplication;
  let clock: FakeClock;
  beforeEach(() => {
    heard = listen();
    clock = new FakeClock();
  });
  afterEach(async () => {
    heard.stop();
    await app.close();
  });
  const start = async (options: RateLimitModuleOptions = {}) => {
    app = await createApp('express', {
      imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...options })],
      controllers: [Resource],
    });
  };

  it('tell each decided request once, and nothing of those without a limit', async () => {
    await start();
    expect(await statuses(app, '/one', '/one', '/free')).toEqual([200, 429, 200]);
    const common = { policy: 'one', limit: 1, delay: 0, source: 'store', dryRun: false, transport: 'http' };
    expect(heard.decisions).toEqual([
      { ...common, allowed: true, remaining: 0, retryAfter: 0, resetAfter: 1000, key: 'everybody' },
      { ...common, allowed: false, remaining: 0, retryAfter: 1000, resetAfter: 1000, key: 'everybody' },
    ]);
    expect([...heard.waits, ...heard.calls, ...heard.failures]).toEqual([]);
  });

  it('tell of several policies the one that decided, and each one on trial by itself', async () => {
    await start();
    expect(await statuses(app, '/several', '/several')).toEqual([200, 429]);
    await until(() => heard.decisions.length === 4);
    const told = (trial: boolean) =>
      heard.decisions
        .filter(({ dryRun }) => dryRun === trial)
        .map(({ policy, key, allowed }) => [policy, key, allowed]);
    expect(told(false)).toEqual([
      ['both/short', 'pair', true],
      ['both/short', 'pair', false],
    ]);
    expect(told(true)).toEqual([
      ['trial', 'trier', true],
      ['trial', 'trier', false],
    ]);
  });

  it('tell how a wait began and ended', async () => {
    await start();
    await statuses(app, '/line');
    const second = statuses(app, '/line');
    await until(() => heard.waits.length === 1);
    const third = request(app.getHttpServer()).get('/line');
    const gone = third.then(
      () => undefined,
      () => undefined,
    );
    await until(() => heard.waits.length === 2);
    third.abort();
    await gone;
    await until(() => heard.waits.length === 3);
    await clock.advance(1000);
    expect(await second).toEqual([200]);
    expect(heard.waits.map(({ decision: { policy, delay }, end, waited }) => [policy, delay, end, waited])).toEqual([
      ['line', 1000, undefined, 0],
      ['line', 2000, undefined, 0],
      ['line', 2000, 'left', 0],
      ['line', 1000, 'passed', 1000],
    ]);
    expect(heard.decisions).toHaveLength(3);

    const last = statuses(app, '/line', '/line');
    await until(() => heard.waits.length === 5);
    await app.close();
    await last.catch(() => {});
    expect(heard.waits.at(-1)).toMatchObject({ end: 'closed' });
  });

  it('tell of no end whose beginning nobody heard', async () => {
    await start();
    heard.stop();
    await statuses(app, '/line');
    const waiting = statuses(app, '/line');
    await until(() => clock.sleeping > 0);
    heard = listen();
    await clock.advance(1000);
    expect(await waiting).toEqual([200]);
    expect(heard.waits).toEqual([]);
  });

  it('tell of manual checks: decide, tryConsume, consume and decideAll', async () => {
    await start();
    const buckets = app.get(BucketService);
    const bucket = buckets.bucket({ ...ONE, name: 'mail' }, 'ada');
    await bucket.decide();
    await bucket.tryConsume();
    await expect(bucket.consume(1, { maxWait: 0 })).rejects.toThrow();
    await buckets.decideAll([{ policy: { ...ONE, name: 'mail' }, key: 'ada' }]);
    await bucket.estimate();
    await bucket.put();
    expect(heard.decisions.map(({ allowed }) => allowed)).toEqual([true, false, false, false]);
    expect(heard.decisions[0]).toMatchObject({ policy: 'mail', key: 'ada', transport: 'bucket', dryRun: false });

    await bucket.consume();
    const waiting = bucket.consume();
    const controller = new AbortController();
    const leaving = bucket.consume(1, { signal: controller.signal });
    await until(() => heard.waits.length === 2);
    controller.abort();
    await expect(leaving).rejects.toThrow();
    await clock.advance(1000);
    await waiting;
    expect(heard.waits.map(({ end, waited }) => [end, waited])).toEqual([
      [undefined, 0],
      [undefined, 0],
      ['left', 0],
      ['passed', 1000],
    ]);
  });

  it('tell of calls of a store that may fail, of its health, and of requests that nothing decided', async () => {
    const store = new FarStore();
    await start({ store, failure: { mode: 'closed', timeout: '5s' } });
    expect(await statuses(app, '/one')).toEqual([200]);
    expect(heard.calls).toEqual([{ verb: 'take', store: 'FarStore', duration: expect.any(Number), error: undefined }]);
    expect(heard.calls[0].duration).toBeGreaterThan(0);
    store.away = true;
    const asked = new Array<string>(8).fill('/one');
    expect(await statuses(app, ...asked)).toEqual(asked.map(() => 503));
    expect(heard.calls[1]).toMatchObject({ verb: 'take', error: new RateLimitStoreError('away') });
    expect(heard.failures).toHaveLength(8);
    expect(heard.failures[0]).toMatchObject({ policy: 'one', transport: 'http' });
    expect(heard.health).toEqual([
      { status: 'down', error: expect.any(RateLimitStoreError), since: expect.any(Number) },
    ]);
    expect(heard.calls.length).toBeLessThan(9);
    store.away = false;
    await until(() => heard.health.length === 2);
    expect(heard.health[1]).toEqual({ status: 'up' });
  });
});

it('nothing is made while nobody listens', () => {
  const untouchable = new Proxy({}, { get: () => expect(true).toBe(false) });
  const args = [untouchable as Decision, untouchable as readonly Take[], 'http'] as const;
  tellDecision(...args);
  const end = tellWait(...args, untouchable as Clock);
  expect(tellWait(...args, untouchable as Clock)).toBe(end);
  end('passed');
});
