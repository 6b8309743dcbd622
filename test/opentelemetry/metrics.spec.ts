import { channel } from 'node:diagnostics_channel';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication } from '@nestjs/common';
import { metrics } from '@opentelemetry/api';
import { MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import {
  BucketService,
  MemoryStore,
  RateLimit,
  RateLimitModule,
  type RateLimitModuleOptions,
  RateLimitStore,
} from 'nest-rate-limit';
import { RateLimitMetricsModule } from 'nest-rate-limit/opentelemetry';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { parsePolicy } from '../../src/core/policy.js';
import * as channels from '../../src/observe/channels.js';
import { createApp } from '../support/create-app.js';
import { FarStore } from '../support/far-store.js';
import { statuses, until } from '../support/requests.js';

const ONE = { capacity: 1, refill: 1, unit: 'hour', key: 'ada@example.com' } as const;

@Controller()
class Resource {
  @RateLimit({ ...ONE, name: 'one' })
  @Get('one')
  one() {}

  @RateLimit({ ...ONE, name: 'queue', maxWait: '3h' })
  @Get('queue')
  queue() {}

  @RateLimit({ ...ONE, name: 'dry', dryRun: true })
  @Get('dry')
  dry() {}
}

class TestReader extends MetricReader {
  protected async onShutdown() {}
  protected async onForceFlush() {}
}

describe('RateLimitMetricsModule', () => {
  let clock: FakeClock;
  let reader: TestReader;
  let provider: MeterProvider;
  const apps: INestApplication[] = [];
  beforeEach(() => {
    clock = new FakeClock();
    reader = new TestReader();
    provider = new MeterProvider({ readers: [reader] });
  });
  afterEach(async () => {
    for (const app of apps.splice(0)) await app.close();
    await provider.shutdown();
    metrics.disable();
    expect(Object.values(channels).filter((one) => typeof one === 'object' && one.hasSubscribers)).toEqual([]);
  });

  const start = async (options: RateLimitModuleOptions = {}) => {
    const imports = [
      RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...options }),
      RateLimitMetricsModule,
    ];
    const app = await createApp('express', { imports, controllers: [Resource] }, () => {
      // The latest possible time: after all imports, before the application starts.
      metrics.setGlobalMeterProvider(provider);
    });
    apps.push(app);
    return app;
  };
  const read = async (name: string) => {
    const { resourceMetrics, errors } = await reader.collect();
    expect(errors).toEqual([]);
    const found = resourceMetrics.scopeMetrics
      .flatMap((scope) => scope.metrics)
      .find(({ descriptor }) => descriptor.name === name);
    const points = found?.dataPoints ?? [];
    return points.map(({ value, attributes }) => [
      typeof value === 'number' ? value : [value.count, value.sum],
      Object.fromEntries(Object.entries(attributes).map(([key, of]) => [key.replace('rate_limiting.', ''), of])),
    ]);
  };
  const http = { source: 'store', transport: 'http' };

  it('counts one admitted and one rejected request', async () => {
    expect(await statuses(await start(), '/one', '/one')).toEqual([200, 429]);
    expect(await read('rate_limiting.requests')).toEqual([
      [1, { ...http, policy: 'one', result: 'acquired' }],
      [1, { ...http, policy: 'one', result: 'limited' }],
    ]);
  });

  it('marks dry-run requests', async () => {
    const app = await start();
    expect(await statuses(app, '/dry', '/dry')).toEqual([200, 200]);
    const dryRun = { ...http, policy: 'dry', dry_run: true };
    expect(await read('rate_limiting.requests')).toEqual([
      [1, { ...dryRun, result: 'acquired' }],
      [1, { ...dryRun, result: 'limited' }],
    ]);
  });

  it('counts a queued request once, when its wait ends, and a canceled one', async () => {
    const app = await start();
    const queue = { ...http, policy: 'queue' };
    await statuses(app, '/queue');
    const waiting = statuses(app, '/queue');
    await until(async () => (await read('rate_limiting.queued_requests'))[0]?.[0] === 1);
    const canceled = request(app.getHttpServer()).get('/queue');
    const aborted = canceled.then(undefined, () => {});
    await until(async () => (await read('rate_limiting.queued_requests'))[0]?.[0] === 2);
    expect(await read('rate_limiting.requests')).toEqual([[1, { ...queue, result: 'acquired' }]]);
    canceled.abort();
    await aborted;
    await until(async () => (await read('rate_limiting.queued_requests'))[0]?.[0] === 1);
    await clock.advance(3_600_000);
    expect(await waiting).toEqual([200]);
    expect(await read('rate_limiting.queued_requests')).toEqual([[0, { policy: 'queue' }]]);
    expect(await read('rate_limiting.requests')).toEqual([
      [2, { ...queue, result: 'acquired' }],
      [1, { ...queue, result: 'request_canceled' }],
    ]);
    expect(await read('rate_limiting.request.time_in_queue')).toEqual([
      [[1, 0], { policy: 'queue', result: 'request_canceled' }],
      [[1, 3600], { policy: 'queue', result: 'acquired' }],
    ]);
  });

  it('counts a request that the fallback decided once, with its source', async () => {
    const store = new FarStore();
    const app = await start({ store });
    await statuses(app, '/one');
    store.unavailable = true;
    // The local bucket begins with the last answer of the store: it is empty.
    expect(await statuses(app, '/one')).toEqual([429]);
    expect(await read('rate_limiting.requests')).toEqual([
      [1, { ...http, policy: 'one', result: 'acquired' }],
      [1, { ...http, policy: 'one', result: 'limited', source: 'fallback' }],
    ]);
    const call = { store: 'FarStore', 'store.operation': 'take' };
    expect(await read('rate_limiting.store.duration')).toEqual([
      [[1, expect.any(Number)], call],
      [[1, expect.any(Number)], { ...call, 'error.type': 'RateLimitStoreError' }],
    ]);
  });

  it('counts an undecided request as an error', async () => {
    const store = new FarStore();
    store.unavailable = true;
    expect(await statuses(await start({ store, failure: { mode: 'closed' } }), '/one')).toEqual([503]);
    expect(await read('rate_limiting.requests')).toEqual([
      [1, { policy: 'one', result: 'error', transport: 'http', 'error.type': 'RateLimitStoreError' }],
    ]);
  });

  it('counts effects that are repeated, and those that are dropped', async () => {
    const store = new FarStore({ clock });
    const app = await start({ store, failure: { timeout: '5s' } });
    const limits = app.get(RateLimitStore);
    const policy = parsePolicy({ capacity: 1, refill: 1, unit: 'hour' }, 'one');
    const charge = async (key: string) =>
      limits.run({ verb: 'charge', takes: [{ policy, key, amount: 1000, maxWait: 0 }], retry: true });
    store.unavailable = true;
    for (let i = 0; i < 5; i++) await charge(i < 2 ? 'expires' : 'lasts');
    const attributes = { policy: 'one', 'store.operation': 'charge' };
    expect(await read('rate_limiting.store.pending_effects')).toEqual([[5, attributes]]);
    // Charges of one bucket are summed, and last as long as it takes to refill their sum and the capacity.
    await clock.advance(3 * 3_600_000);
    store.unavailable = false;
    await until(() => limits.health().status === 'up');
    await new Promise(setImmediate);
    expect(await read('rate_limiting.store.pending_effects')).toEqual([[0, attributes]]);
    expect(await read('rate_limiting.store.dropped_effects')).toEqual([[2, { ...attributes, reason: 'expired' }]]);
  });

  it('counts slots that are held, those that wait for them, and for how long they were held', async () => {
    const buckets = (await start()).get(BucketService);
    const bucket = buckets.bucket({ name: 'pdf', limits: [{ concurrency: 2 }, { capacity: 9, refill: 9 }] }, 'ada');
    const [first, second] = [await bucket.acquire(), await bucket.acquire()];
    const waiting = bucket.acquire();
    await clock.advance(2000);
    const pdf = { policy: 'pdf' };
    expect(await read('rate_limiting.held_slots')).toEqual([[2, pdf]]);
    expect(await read('rate_limiting.queued_requests')).toEqual([[1, { policy: 'pdf/concurrency' }]]);
    await first.release();
    const third = await waiting;
    expect(await read('rate_limiting.held_slots')).toEqual([[2, pdf]]);
    expect(await read('rate_limiting.queued_requests')).toEqual([[0, { policy: 'pdf/concurrency' }]]);
    await clock.advance(1000);
    for (const slot of [first, second, third]) await slot.release();
    expect(await read('rate_limiting.held_slots')).toEqual([[0, pdf]]);
    expect(await read('rate_limiting.slot.duration')).toEqual([[[3, 2 + 3 + 1], pdf]]);
  });

  it('counts once while two applications record, until the last one has closed', async () => {
    const [one, two] = [await start(), await start()];
    await statuses(one, '/one');
    expect(await read('rate_limiting.requests')).toEqual([[1, { ...http, policy: 'one', result: 'acquired' }]]);
    await one.close();
    expect(channel(channels.DECISION).hasSubscribers).toBe(true);
    await two.close();
    expect(channel(channels.DECISION).hasSubscribers).toBe(false);
  });

  it('exports no keys or addresses', async () => {
    await statuses(await start(), '/one', '/one', '/queue', '/dry');
    const { resourceMetrics } = await reader.collect();
    expect(JSON.stringify(resourceMetrics.scopeMetrics)).not.toMatch(/example\.com|127\.0\.0\.1|::1/);
  });
});
