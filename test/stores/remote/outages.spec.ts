import { afterEach, describe, expect, it } from '@jest/globals';
import type { StoreRequest } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import type { StoreAnswer } from '../../../src/core/decision.js';
import { type LimitOptions, parsePolicy } from '../../../src/core/policy.js';
import { LastAnswers } from '../../../src/stores/remote/last-answers.js';
import { LocalTakes } from '../../../src/stores/remote/local-takes.js';
import { ResilientStore } from '../../../src/stores/remote/resilient.store.js';
import { closeBuckets, openBuckets } from '../../support/buckets.js';
import { FarStore } from '../../support/far-store.js';
import { startRedis } from '../../support/redis.js';
import { until } from '../../support/requests.js';

const cleanups: (() => unknown)[] = [];
closeBuckets();
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

type Options = Partial<ConstructorParameters<typeof ResilientStore>[1]>;

/** A remote store that can become unavailable, and shorthands for the requests of one bucket. */
function resilient(limit: LimitOptions, options: Options = {}) {
  const clock = new FakeClock();
  const far = new FarStore({ clock });
  const store = new ResilientStore(far, { mode: 'local', timeout: 1000, instances: 1, ...options });
  cleanups.push(() => store.close());
  const policy = parsePolicy(limit, 'policy');
  const run = async (verb: StoreRequest['verb'], n = 1, more: Partial<StoreRequest> = {}) =>
    store.run({ verb, takes: [{ policy, key: 'key', amount: n * 1000, maxWait: 0 }], ...more });
  /** The tokens that the bucket has in an outage. */
  const left = async () => {
    far.unavailable = true;
    const { balance, source } = await run('estimate', 0);
    expect(source).toBe('fallback');
    return balance;
  };
  const advance = (ms: number) => clock.set(clock.now() + ms);
  return { far, store, run, left, advance, policy };
}

const DAY = 86_400_000;
const BUCKET = { capacity: 10, refill: 1 };
const POOL = { capacity: 10, refill: 0 };
const WINDOW = { maxRequest: 10, duration: 10 };
const QUOTA = { capacity: 10, calendar: 'day' } as const;
const INTERVALS = { capacity: 10, refill: 10, duration: 10, refillMode: 'intervally' } as const;

describe('a local bucket in an outage', () => {
  it.each([
    ['a bucket', BUCKET],
    ['a bucket without refill', POOL],
    ['a bucket with intervals', INTERVALS],
    ['a window', WINDOW],
    ['a window with slots', { maxRequest: 200, duration: 10 }],
    ['a calendar quota', QUOTA],
    ['two limits', { limits: [BUCKET, WINDOW] }],
  ])('begins with what the store last answered: %s', async (_, limit) => {
    const { run, left } = resilient(limit);
    await run('take', 3);
    await run('take', 4);
    const { balance } = await run('take', 1);
    expect(await left()).toBe(balance);
  });

  it('begins full if nothing is known of it', async () => {
    const { left } = resilient(BUCKET);
    expect(await left()).toBe(10);
  });

  it.each([
    ['allowed', 4, 6],
    ['denied', 11, 10],
    ['charged', 14, -4],
  ])('begins with the balance after a request that was %s', async (kind, n, balance) => {
    const { run, left } = resilient(POOL);
    await run(kind === 'charged' ? 'charge' : 'take', n);
    expect(await left()).toBe(balance);
  });

  it('begins with the state before an estimate, which takes nothing', async () => {
    const { run, left } = resilient(POOL);
    await run('take', 3);
    await run('estimate', 6);
    expect(await left()).toBe(7);
  });

  it('refills since the last answer', async () => {
    const { run, left, advance } = resilient(BUCKET);
    await run('take', 8);
    advance(3000);
    expect(await left()).toBe(5);
    advance(60_000);
    expect(await left()).toBe(10);
  });

  it('counts all admissions of a window at the newest', async () => {
    const { run, left, advance } = resilient(WINDOW);
    await run('take', 4);
    advance(5000);
    await run('take', 3);
    advance(5000);
    expect(await left()).toBe(3);
    advance(4999);
    expect(await left()).toBe(3);
    advance(1);
    expect(await left()).toBe(10);
  });

  it('is full again when the period of a calendar quota ends', async () => {
    const { run, left, advance } = resilient(QUOTA);
    await run('take', 4);
    advance(DAY - 1);
    expect(await left()).toBe(6);
    advance(1);
    expect(await left()).toBe(10);
  });

  it.each([
    ['a bucket', BUCKET],
    ['a window', WINDOW],
    ['a calendar quota', QUOTA],
  ])('stays blocked: %s', async (_, limit) => {
    const { run, left, advance, far } = resilient(limit);
    await run('block', 0, { duration: 60_000 });
    expect(await left()).toBe(0);
    advance(59_999);
    expect(await run('take')).toMatchObject({ allowed: false, retryAfter: 1 });
    advance(1);
    expect((await run('take')).allowed).toBe(true);
    far.unavailable = false;
  });

  it('stays blocked after a denial of a policy with `block`', async () => {
    const { run, left, advance } = resilient({ ...BUCKET, block: '1m' });
    await run('take', 10);
    expect((await run('take')).retryAfter).toBe(60_000);
    await left();
    advance(30_000);
    expect(await run('take')).toMatchObject({ allowed: false, source: 'fallback', retryAfter: 30_000 });
  });

  it.each([
    [BUCKET, 4, 1.5],
    [WINDOW, 4, 1.5],
    [QUOTA, 4, 1.5],
    [{ capacity: 2, calendar: 'month' } as const, 0, 1],
    [BUCKET, 10, 0],
    [{ capacity: 2, refill: 1 }, 0, 1],
    [{ maxRequest: 2, duration: 1 }, 2, 0],
  ])('has a part of the last balance for each process: %j after %d', async (limit, n, part) => {
    const { run, left } = resilient(limit, { instances: 4 });
    await run('take', n);
    expect(await left()).toBe(part);
  });

  it('begins with the last answer of each bucket of a request', async () => {
    const { store, far, policy } = resilient(POOL);
    const other = parsePolicy({ limits: [BUCKET, WINDOW] }, 'other');
    const take = { key: 'key', amount: 3000, maxWait: 0 };
    await store.run({ verb: 'take', takes: [{ ...take, policy: other }] });
    await store.run({
      verb: 'take',
      takes: [
        { ...take, policy: other },
        { ...take, policy, amount: 1000 },
      ],
    });
    far.unavailable = true;
    const balances = [other, policy].map(async (one) => {
      const answer = await store.run({ verb: 'estimate', takes: [{ ...take, policy: one, amount: 0 }] });
      return answer.limits.map(({ remaining }) => remaining);
    });
    expect(await Promise.all(balances)).toEqual([[4, 4], [9]]);
  });

  it('is what the store answered too late', async () => {
    const { run, left, far } = resilient(POOL, { timeout: 20 });
    let answer = () => {};
    const { run: runNow } = far;
    far.run = async (request) => {
      const answered = await runNow.call(far, request);
      return new Promise<StoreAnswer>((resolve) => {
        answer = () => resolve(answered);
      });
    };
    expect((await run('take', 2)).source).toBe('fallback');
    expect((await run('take', 2)).source).toBe('fallback');
    answer();
    await new Promise(setImmediate);
    // The second answer, after 4 tokens had been taken from the store.
    expect(await left()).toBe(6);
  });
});

describe('local buckets after an outage', () => {
  it.each([
    ['a bucket without refill', POOL, 9],
    // The amount admitted locally is taken from the store.
    ['a window', WINDOW, 0],
    ['a bucket', { capacity: 10, refill: 1, unit: 'hours' } as const, 0],
  ])('are not refilled by a store that comes and goes: %s', async (_, limit, byStore) => {
    const { far, run, store } = resilient(limit);
    far.outcome = 'not-applied';
    const admitted = { store: 0, fallback: 0, open: 0, cache: 0 };
    const take = async () => {
      const { allowed, source } = await run('take');
      if (allowed) admitted[source]++;
    };
    for (let i = 0; i < 3; i++) {
      far.unavailable = true;
      for (let n = 0; n < 12; n++) await take();
      expect(store.health().status).toBe('down');
      far.unavailable = false;
      await until(() => store.health().status === 'up');
      for (let n = 0; n < 3; n++) await take();
    }
    expect(admitted).toMatchObject({ store: byStore, fallback: 10 });
  });

  it('keep their own takes, if the store has more', async () => {
    const { far, run, left } = resilient(POOL);
    far.unavailable = true;
    await run('take', 6);
    far.unavailable = false;
    await run('take', 1);
    expect(await left()).toBe(4);
  });

  it('take over what the store has less', async () => {
    const { far, run, left } = resilient(POOL);
    far.unavailable = true;
    await run('take', 2);
    far.unavailable = false;
    await run('take', 9);
    expect(await left()).toBe(1);
  });

  it.each(['reset', 'unblock'] as const)('follow a %s of the store', async (verb) => {
    const { far, run, left } = resilient({ ...POOL, block: '1h' });
    await run('take', 10);
    await run('take');
    expect(await left()).toBe(0);
    far.unavailable = false;
    await run(verb);
    if (verb === 'unblock') await run('put', 5);
    expect((await run('take', 1)).allowed).toBe(true);
    expect(await left()).toBe(verb === 'reset' ? 9 : 0);
  });

  it('admit at most one capacity more when Redis flaps', async () => {
    const redis = await startRedis();
    cleanups.push(() => redis.kill());
    const { buckets, store } = await openBuckets({ store: { redis: redis.url, denyCache: false } });
    const bucket = buckets.bucket({ name: 'pool', ...POOL }, 'key');
    await until(async () => (await bucket.estimate()).source === 'store');
    const admitted = { store: 0, fallback: 0, open: 0, cache: 0 };
    const take = async () => {
      const { allowed, source } = await bucket.decide();
      if (allowed) admitted[source]++;
    };
    for (let i = 0; i < 4; i++) {
      redis.pause();
      await until(async () => {
        await take();
        return store.health().status === 'down';
      });
      for (let n = 0; n < 30; n++) await take();
      redis.resume();
      await until(() => store.health().status === 'up');
      for (let n = 0; n < 3; n++) await take();
    }
    expect(admitted.store).toBeLessThanOrEqual(10);
    expect(admitted.fallback).toBe(10);
  });
});

describe('LastAnswers', () => {
  const policy = parsePolicy(POOL, 'pool');
  const take = (key: string) => ({ policy, key, amount: 1000, maxWait: 0 });
  const limits = [{ name: 'pool', limit: 10, remaining: 9, retryAfter: 0, resetAfter: 1, moreAfter: 1 }];

  it('remembers at least the last 10,000 buckets, and at most twice as many', () => {
    const answers = new LastAnswers();
    for (let i = 0; i < 35_000; i++) {
      answers.set(take(`${i}`), i, limits, 0);
      expect(answers.size).toBeLessThanOrEqual(20_000);
    }
    for (let i = 25_000; i < 35_000; i++) expect(answers.remove(take(`${i}`))?.at).toBe(i);
    expect(answers.remove(take('1'))).toBeUndefined();
  });

  it('has only the newest answer about a bucket', () => {
    const answers = new LastAnswers();
    answers.set(take('key'), 1, limits, 0);
    for (let i = 0; i < 10_000; i++) answers.set(take(`${i}`), 2, limits, 0);
    answers.set(take('key'), 3, limits, 0);
    expect(answers.remove(take('key'))?.at).toBe(3);
    expect(answers.remove(take('key'))).toBeUndefined();
  });

  it.each([
    ['open', undefined, 0],
    ['open', 'local', 1],
    ['local', 'closed', 0],
    ['local', undefined, 1],
  ] as const)('remembers nothing that is never decided here: mode %s, `onStoreError` %s', async (mode, own, size) => {
    const far = new FarStore();
    const store = new ResilientStore(far, { mode, timeout: 1000, instances: 1 });
    cleanups.push(() => store.close());
    await store.run({ verb: 'take', takes: [{ ...take('key'), onStoreError: own }] });
    const { answers } = (store as unknown as { local: { answers: LastAnswers } }).local;
    expect(answers.size).toBe(size);
  });
});

describe('local takes of an outage', () => {
  const MINUTE = 60_000;

  /** Empties the bucket in the store, lets it be unavailable for `ms`, and takes locally what there is. */
  async function outage(limit: LimitOptions, ms: number, more: Partial<StoreRequest['takes'][0]> = {}) {
    const subject = resilient(limit);
    const { far, run, advance, store, policy } = subject;
    const take = (n: number) =>
      store.run({ verb: 'take', takes: [{ policy, key: 'key', amount: n * 1000, maxWait: 0, ...more }] });
    await take(10);
    far.outcome = 'not-applied';
    far.unavailable = true;
    advance(ms);
    let local = 0;
    while ((await take(1)).allowed) local++;
    far.unavailable = false;
    const balance = async () =>
      (await far.run({ verb: 'estimate', takes: [{ policy, key: 'key', amount: 0, maxWait: 0 }] })).balance;
    /** The balance in the store, after it has answered again. */
    const settled = async () => {
      await until(() => store.health().status === 'up');
      await run('estimate', 0);
      await new Promise(setImmediate);
      return balance();
    };
    return { ...subject, local, take, settled };
  }

  it.each([
    ['a bucket', BUCKET, 5000, 5],
    ['a bucket that is full again', BUCKET, MINUTE, 10],
    ['a bucket with intervals', INTERVALS, 10_000, 10],
    ['a window', WINDOW, 10_000, 10],
    ['two limits', { limits: [BUCKET, WINDOW] }, 10_000, 10],
    ['a calendar quota', QUOTA, DAY, 10],
  ])('is taken from the store when it is back: %s', async (_, limit, ms, expected) => {
    const { local, settled } = await outage(limit, ms);
    expect(local).toBe(expected);
    expect(await settled()).toBe(0);
  });

  it('leaves no debt', async () => {
    const { far, run, advance, take, settled } = await outage(BUCKET, 5000);
    far.unavailable = true;
    advance(1000);
    await take(1);
    far.unavailable = false;
    // The store has gained six tokens, and another process has taken four of them.
    await far.run({
      verb: 'take',
      takes: [{ policy: parsePolicy(BUCKET, 'policy'), key: 'key', amount: 4000, maxWait: 0 }],
    });
    expect(await settled()).toBe(0);
    expect((await run('estimate', 0)).balance).toBe(0);
  });

  it('is taken later if the store fails again before', async () => {
    const { far, settled } = await outage(BUCKET, 5000);
    const { run } = far;
    let fails = true;
    far.run = async (request) => {
      far.unavailable = fails && request.verb === 'takeUpTo';
      return run.call(far, request);
    };
    expect(await settled()).toBe(5);
    fails = false;
    expect(await settled()).toBe(0);
  });

  it.each([
    [
      'has been refunded',
      BUCKET,
      {},
      async ({ run, local }: Awaited<ReturnType<typeof outage>>) => {
        await run('put', local, { source: 'fallback' });
      },
    ],
    ['is going to be settled', BUCKET, { mark: 7 }, async () => {}],
  ])('stays in the store if it %s', async (_, limit, more, then) => {
    const subject = await outage(limit, 5000, more);
    await then(subject);
    expect(await subject.settled()).toBe(5);
  });

  it('stays in the store if its bucket has been reset since', async () => {
    const { far, run, advance, policy } = resilient(BUCKET);
    await run('take', 10);
    far.outcome = 'not-applied';
    far.unavailable = true;
    advance(5000);
    await run('take', 3);
    far.unavailable = false;
    await run('reset', 0);
    await new Promise(setImmediate);
    const take = { policy, key: 'key', amount: 0, maxWait: 0 };
    expect((await far.run({ verb: 'estimate', takes: [take] })).balance).toBe(10);
  });

  it('stays in a store without refill, where nothing refills', async () => {
    const { far, run, policy } = resilient(POOL);
    far.outcome = 'not-applied';
    far.unavailable = true;
    for (let i = 0; i < 3; i++) await run('take');
    far.unavailable = false;
    await run('estimate', 0);
    await new Promise(setImmediate);
    const take = { policy, key: 'key', amount: 0, maxWait: 0 };
    expect((await far.run({ verb: 'estimate', takes: [take] })).balance).toBe(10);
  });

  it('is not taken again if the store may have taken it already', async () => {
    const { far, run, advance, policy } = resilient(BUCKET);
    await run('take', 10);
    far.unavailable = true;
    advance(5000);
    await run('take');
    far.unavailable = false;
    await run('estimate', 0);
    await new Promise(setImmediate);
    const take = { policy, key: 'key', amount: 0, maxWait: 0 };
    expect((await far.run({ verb: 'estimate', takes: [take] })).balance).toBe(5);
  });

  it('stays local if it has an amount for each limit: the store would lose the largest from all of them', async () => {
    const { local, settled } = await outage({ limits: [BUCKET, WINDOW] }, 10_000, { amounts: [1000, 0] });
    expect(local).toBe(10);
    expect(await settled()).toBe(10);
  });

  it('is kept for the last 10,000 buckets', () => {
    const takes = new LocalTakes();
    const policy = parsePolicy(BUCKET, 'policy');
    for (let i = 0; i < 10_010; i++)
      takes.add({ verb: 'take', takes: [{ policy, key: `${i}`, amount: 1000, maxWait: 0 }] });
    expect(takes.size).toBe(10_000);
  });
});
