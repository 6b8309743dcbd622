import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { BucketService, type EffectMessage, RateLimitStoreError, type StoreRequest } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { type LimitOptions, parsePolicy } from '../../../src/core/policy.js';
import { closeBuckets, log, openBuckets } from '../../support/buckets.js';
import { FarStore } from '../../support/far-store.js';
import { until } from '../../support/requests.js';

const BUCKET: LimitOptions = { name: 'bucket', capacity: 10, refill: 1 };
const WINDOW: LimitOptions = { name: 'window', maxRequest: 10, unit: 'minutes' };
const QUOTA: LimitOptions = { name: 'quota', capacity: 10, calendar: 'day' };
const POOL: LimitOptions = { name: 'pool', capacity: 10, refill: 0 };
const DAY = 86_400_000;
const MAX_EFFECTS = 10_000;

const messages: EffectMessage[] = [];
const collect = (message: unknown) => messages.push(message as EffectMessage);
const clock = new FakeClock();
let far: FarStore;
let store: Awaited<ReturnType<typeof openBuckets>>['store'];
let module: Awaited<ReturnType<typeof openBuckets>>['module'];

beforeEach(async () => {
  messages.length = 0;
  subscribe('nest-rate-limit:effect', collect);
  far = new FarStore({ clock });
  ({ store, module } = await openBuckets({ store: far, failure: { timeout: '5s' } }));
});
afterEach(() => {
  unsubscribe('nest-rate-limit:effect', collect);
});
closeBuckets();

const countOf = (event: EffectMessage['event'], reason?: EffectMessage['reason']) =>
  messages
    .filter((message) => message.event === event && message.reason === reason)
    .reduce((sum, { count }) => sum + count, 0);
const warnings = () => log.lines.filter((line) => line.startsWith('warn'));

async function run(verb: StoreRequest['verb'], options: LimitOptions, amount: number, key = 'key', mark?: number) {
  const take = { policy: parsePolicy(options, 'policy'), key, amount: amount * 1000, maxWait: 0, mark };
  return store.run({ verb, takes: [take], retry: true });
}
async function goDown() {
  far.unavailable = true;
  const bucket = new BucketService(store).bucket(POOL, 'outage');
  await until(async () => {
    await bucket.estimate();
    return store.health().status === 'down';
  });
}
async function recover() {
  far.unavailable = false;
  await until(() => store.health().status === 'up');
  // The messages of a batch are published in the microtasks after its answers.
  await new Promise(setImmediate);
}
const balance = (options: LimitOptions, key = 'key') => new BucketService(far).bucket(options, key).available();

describe('Effects that the store has not applied', () => {
  it.each([
    // A debt of 10 + 5 tokens lasts 15 seconds.
    ['a bucket, until the debt would have refilled', BUCKET, 15_000],
    ['a window, until its end', WINDOW, 60_000],
    ['a bucket without refill, for ten minutes', POOL, 600_000],
    ['several limits, as long as the longest of them', { name: 'both', limits: [BUCKET, WINDOW] }, 60_000],
  ])('are repeated for %s', async (_, options, lifetime) => {
    await goDown();
    await run('charge', options, 5);
    await clock.advance(lifetime - 1);
    await run('charge', options, 5, 'other');
    await recover();
    expect(countOf('applied')).toBe(2);
    await goDown();
    await run('charge', options, 5, 'late');
    await clock.advance(lifetime);
    await recover();
    expect(await balance(options, 'late')).toBe(10);
    expect(countOf('dropped', 'expired')).toBe(1);
  });

  it('are repeated for a calendar quota, until its period ends', async () => {
    const untilMidnight = () => DAY - (clock.now() % DAY);
    await goDown();
    await run('charge', QUOTA, 5);
    await clock.advance(untilMidnight() - 1);
    await recover();
    expect(await balance(QUOTA)).toBe(5);
    await goDown();
    await run('charge', QUOTA, 5, 'late');
    await clock.advance(untilMidnight());
    await recover();
    expect(await balance(QUOTA, 'late')).toBe(10);
    expect(countOf('dropped', 'expired')).toBe(1);
  });

  it('are summed if they are charges of one bucket', async () => {
    await run('take', POOL, 1);
    await goDown();
    for (let i = 0; i < 50; i++) await run('charge', POOL, 0.5, 'key', i);
    for (let i = 0; i < 5; i++) await run('charge', POOL, 1, 'other');
    await recover();
    expect(await balance(POOL)).toBe(-16);
    expect(await balance(POOL, 'other')).toBe(5);
    expect(messages.filter(({ event }) => event === 'applied').map(({ count }) => count)).toEqual([50, 5]);
  });

  it('are bounded in number: the oldest refunds are dropped first, and then the oldest charges', async () => {
    await goDown();
    for (let i = 0; i < 10; i++) await run('charge', POOL, 1, `charge ${i}`);
    for (let i = 0; i < MAX_EFFECTS; i++) await run('put', POOL, 1, `refund ${i}`, i);
    expect(countOf('dropped', 'full')).toBe(10);
    for (let i = 10; i < MAX_EFFECTS + 5; i++) await run('charge', POOL, 1, `charge ${i}`);
    expect(countOf('dropped', 'full')).toBe(MAX_EFFECTS + 5);
    expect(messages.filter(({ event, verb }) => event === 'dropped' && verb === 'put')).toHaveLength(MAX_EFFECTS);
    await recover();
    await until(() => countOf('applied') === MAX_EFFECTS);
    for (const [i, left] of [10, 10, 10, 10, 10, 9, 9].entries()) {
      expect(await balance(POOL, `charge ${i}`)).toBe(left);
    }
  });

  it('are logged at most once per minute when they are dropped', async () => {
    await goDown();
    for (let i = 0; i < 5; i++) await run('put', POOL, 1, 'key', i);
    await clock.advance(600_000);
    await recover();
    expect(countOf('dropped', 'expired')).toBe(5);
    expect(warnings()).toEqual([
      'warn: Policy pool: a refund was dropped, because the store was unavailable until it no longer mattered',
    ]);
    await module.close();
    expect(warnings().at(-1)).toBe('warn: 4 more refunds and charges were dropped');
  });

  it('are applied at shutdown if the store recovers within two seconds', async () => {
    await run('take', POOL, 4, 'key', 1);
    await goDown();
    await run('put', POOL, 3, 'key', 1);
    await run('charge', POOL, 2, 'other');
    const closed = module.close();
    far.unavailable = false;
    await closed;
    expect(await balance(POOL)).toBe(9);
    expect(await balance(POOL, 'other')).toBe(8);
    expect(warnings()).toEqual([]);
  });

  it('are dropped at shutdown if the store does not recover', async () => {
    await goDown();
    await run('charge', POOL, 2);
    await module.close();
    expect(countOf('dropped', 'shutdown')).toBe(1);
    expect(warnings()).toEqual(['warn: Policy pool: a charge was dropped, because the application has closed']);
  });

  it('do not delay other effects if the store rejects one of them for good', async () => {
    await goDown();
    await run('charge', POOL, 1, 'unreadable');
    await run('charge', POOL, 1);
    const answer = far.run.bind(far);
    far.run = async (request) => {
      if (request.takes[0].key === 'unreadable') throw new RateLimitStoreError('unreadable', 'bucket');
      return answer(request);
    };
    await recover();
    expect(await balance(POOL)).toBe(9);
    expect(warnings()).toEqual([expect.stringContaining('a charge was dropped')]);
    expect(countOf('dropped', 'failed')).toBe(1);
  });
});
