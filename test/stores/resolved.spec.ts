import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { MemoryStore, RedisStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { plainAnswer } from '../../src/core/answer.js';
import type { LimitNumbers } from '../../src/core/limit.js';
import type { LimitOptions, Policy } from '../../src/core/policy.js';
import type { StoreRequest, Verb } from '../../src/core/request.js';
import { defineResolvedPolicy } from '../../src/core/resolved-policy.js';
import type { RateLimitStore } from '../../src/stores/rate-limit.store.js';
import { DenyCacheStore } from '../../src/stores/remote/deny-cache.store.js';
import { checkProperty, pauses, storeKinds, windowLimits } from '../support/store-subject.js';

const { memory, redis, client } = storeKinds();
const kinds = [memory, redis];

const resolved = (options: LimitOptions) => defineResolvedPolicy(options, 'plan');

const takeOf = (policy: Policy, n: number, more = {}) => ({
  policy,
  key: 'ada',
  amount: n * 1000,
  maxWait: 0,
  ...more,
});

async function run(store: RateLimitStore, verb: Verb, policy: Policy, n = 0, more: Partial<StoreRequest> = {}) {
  return plainAnswer(await store.run({ verb, takes: [takeOf(policy, n)], ...more }));
}

const TEN = resolved({ capacity: 10, refill: 10, unit: 'minutes' });
const HUNDRED = resolved({ capacity: 100, refill: 100, unit: 'minutes' });
const FAST = resolved({ capacity: 1, refill: 1, unit: 'seconds' });
const SLOW = resolved({ capacity: 1000, refill: 1000, unit: 'days' });

describe.each(kinds)('Buckets whose numbers are resolved per request in $name', ({ make }) => {
  const start = () => {
    const clock = new FakeClock();
    const store = make(clock);
    const advance = (ms: number) => clock.set(clock.now() + ms);
    return { store, advance, take: (policy: Policy, n: number) => run(store, 'take', policy, n) };
  };

  it('carry the balance over to a larger and to a smaller capacity', async () => {
    const { take } = start();
    expect(await take(TEN, 4)).toMatchObject({ allowed: true, remaining: 6, limit: 10 });
    expect(await take(HUNDRED, 7)).toMatchObject({ allowed: false, remaining: 6, limit: 100 });
    expect(await take(HUNDRED, 2)).toMatchObject({ allowed: true, remaining: 4, limit: 100 });
    expect(await take(FAST, 1)).toMatchObject({ allowed: true, remaining: 0, limit: 1 });
    expect(await take(HUNDRED, 1)).toMatchObject({ allowed: false, remaining: 0, limit: 100 });
  });

  it('carry the use of a calendar quota over', async () => {
    const { take } = start();
    const small = resolved({ capacity: 10, calendar: 'month' });
    const large = resolved({ capacity: 100, calendar: 'month' });
    expect(await take(small, 8)).toMatchObject({ allowed: true, remaining: 2 });
    expect(await take(large, 50)).toMatchObject({ allowed: true, remaining: 42 });
    expect(await take(small, 1)).toMatchObject({ allowed: false, remaining: 0 });
  });

  it('keep the slots that are held', async () => {
    const { store } = start();
    const takeSlot = async (concurrency: number, count: number) =>
      run(store, 'take', resolved({ concurrency }), 1, {
        takes: [takeOf(resolved({ concurrency }), 1, { holder: { id: 1, count, sequence: count } })],
      });
    expect(await takeSlot(2, 0)).toMatchObject({ allowed: true, remaining: 1 });
    expect(await takeSlot(2, 1)).toMatchObject({ allowed: true, remaining: 0 });
    expect(await takeSlot(5, 2)).toMatchObject({ allowed: true, remaining: 2 });
    expect(await takeSlot(2, 3)).toMatchObject({ allowed: false, remaining: 0 });
  });

  it('lose nothing to a request with a smaller capacity that is denied', async () => {
    const { take } = start();
    await take(TEN, 4);
    expect(await take(FAST, 2)).toMatchObject({ allowed: false, remaining: 1 });
    expect(await take(TEN, 6)).toMatchObject({ allowed: true, remaining: 0 });
  });

  it('are not full in large numbers because they are full in small ones', async () => {
    const { take, advance } = start();
    await take(SLOW, 1000);
    for (let i = 0; i < 5; i++) {
      advance(2000);
      expect(await take(FAST, 1)).toMatchObject({ allowed: true, remaining: 0 });
    }
    advance(2000);
    expect(await take(SLOW, 2)).toMatchObject({ allowed: false, limit: 1000 });
    advance(86_400_000);
    expect(await take(SLOW, 1000)).toMatchObject({ allowed: true, remaining: 0 });
  });

  it('refill at the rate of the request that finds them', async () => {
    const { take, advance } = start();
    await take(TEN, 10);
    const { allowed, retryAfter } = await take(HUNDRED, 5);
    expect([allowed, retryAfter]).toEqual([false, 3000]);
    advance(2999);
    expect((await take(HUNDRED, 5)).allowed).toBe(false);
    advance(1);
    expect((await take(HUNDRED, 5)).allowed).toBe(true);
  });

  it('share the admissions of a window of the same length', async () => {
    const { take, advance } = start();
    const window = (maxRequest: number) => resolved({ maxRequest, unit: 'minutes' });
    expect(await take(window(10), 4)).toMatchObject({ remaining: 6 });
    expect(await take(window(500), 1)).toMatchObject({ remaining: 495 });
    expect(await take(window(5), 1)).toMatchObject({ allowed: false, remaining: 0 });
    expect(await take(window(4), 1)).toMatchObject({ allowed: false, remaining: 0 });
    advance(61_000); // admissions of a large window count up to 1/128 of it longer
    expect(await take(window(4), 1)).toMatchObject({ allowed: true, remaining: 3 });
  });

  it('carry over charges, blocks and refunds of marked takes', async () => {
    const { store, take } = start();
    await store.run({ verb: 'take', takes: [takeOf(TEN, 4, { mark: 7 })] });
    await run(store, 'charge', TEN, 8);
    expect(await run(store, 'estimate', HUNDRED, 0)).toMatchObject({ balance: -2 });
    await store.run({ verb: 'put', takes: [takeOf(HUNDRED, 3, { mark: 7 })] });
    expect(await run(store, 'estimate', TEN, 0)).toMatchObject({ balance: 1 });
    await run(store, 'block', TEN, 0, { duration: 1000 });
    expect(await take(HUNDRED, 1)).toMatchObject({ allowed: false, retryAfter: 1000 });
    await run(store, 'reset', HUNDRED);
    expect(await take(HUNDRED, 100)).toMatchObject({ allowed: true, remaining: 0 });
  });

  it('keep the instants of queued requests', async () => {
    const { store } = start();
    const wait = async (policy: Policy, n: number) =>
      plainAnswer(await store.run({ verb: 'take', takes: [takeOf(policy, n, { maxWait: 60_000 })] }));
    await wait(TEN, 10);
    expect(await wait(TEN, 1)).toMatchObject({ allowed: true, delay: 6000 });
    expect(await wait(HUNDRED, 1)).toMatchObject({ allowed: true, delay: 6000 });
    expect((await wait(TEN, 1)).delay).toBeGreaterThan(6000);
  });
});

describe('Requests of one batch', () => {
  it('see what each other has taken, in their own numbers', async () => {
    const clock = new FakeClock();
    const store = new RedisStore({ client, clock, prefix: `resolved-${process.pid}:` });
    const answers = await Promise.all([
      run(store, 'take', TEN, 4),
      run(store, 'take', FAST, 2),
      run(store, 'estimate', FAST, 1),
      run(store, 'take', HUNDRED, 1),
      run(store, 'take', TEN, 5),
    ]);
    expect(answers.map(({ allowed, remaining }) => [allowed, remaining])).toEqual([
      [true, 6],
      [false, 1],
      [true, 0],
      [true, 5],
      [true, 0],
    ]);
    await store.close();
  });
});

describe('The deny cache', () => {
  it('does not apply a denial to a request with other numbers', async () => {
    const store = new DenyCacheStore(new RedisStore({ client, prefix: `resolved-cache-${process.pid}:` }));
    await run(store, 'take', TEN, 8);
    expect(await run(store, 'take', TEN, 3)).toMatchObject({ allowed: false, source: 'store' });
    expect(await run(store, 'take', TEN, 3)).toMatchObject({ allowed: false, source: 'cache' });
    const copy = resolved({ capacity: 10, refill: 10, unit: 'minutes' });
    expect(await run(store, 'take', copy, 3)).toMatchObject({ allowed: false, source: 'cache' });
    expect(await run(store, 'take', FAST, 1)).toMatchObject({ allowed: true, source: 'store' });
    await store.close();
  });
});

describe('MemoryStore', () => {
  it('keeps the numbers of its buckets in a dump', async () => {
    const clock = new FakeClock();
    const [store, other] = [new MemoryStore({ clock }), new MemoryStore({ clock })];
    await run(store, 'take', TEN, 4);
    other.restore(JSON.parse(JSON.stringify(store.dump())));
    expect(await run(other, 'take', HUNDRED, 1)).toMatchObject({ remaining: 5 });
    store.close();
    other.close();
  });

  it('has one bucket for any number of different numbers', () => {
    const clock = new FakeClock();
    const store = new MemoryStore({ clock });
    for (let i = 1; i <= 20_000; i++) {
      store.run({ verb: 'take', takes: [takeOf(resolved({ capacity: i, refill: 1 + (i % 7) }), 1)] });
      store.run({ verb: 'take', takes: [takeOf(resolved({ maxRequest: i, unit: 'minutes' }), 1)] });
    }
    expect(store.size).toBe(2);
    expect(Object.keys(store.dump().buckets)).toEqual(['plan:~b', 'plan:~w/60000']);
    store.close();
  });
});

const bucket: fc.Arbitrary<LimitNumbers> = fc.record({
  capacity: fc.constantFrom(1, 2.5, 6, 20),
  refill: fc.constantFrom(0.3, 1, 7, 20),
  duration: fc.constantFrom(3, 10, 100),
  unit: fc.constant('milliseconds' as const),
});

describe.each(kinds)('Properties of resolved buckets in $name', ({ make, runs }) => {
  it('never admit more than the largest capacity and the highest rate allow, and retryAfter is exact', async () => {
    const steps = fc.array(fc.record({ which: fc.nat(2), n: fc.constantFrom(1, 1, 2, 0.5), pause: pauses }), {
      minLength: 30,
      maxLength: 60,
    });
    const values = fc.record({ limits: fc.array(bucket, { minLength: 3, maxLength: 3 }), steps });
    await checkProperty(runs, 0.5, values, async ({ limits, steps }, cover) => {
      const clock = new FakeClock();
      const store = make(clock);
      const policies = limits.map(resolved);
      const capacity = Math.max(...limits.map((limit) => limit.capacity ?? 0));
      const rate = Math.max(...limits.map(({ refill = 0, duration = 1 }) => refill / duration));
      const admitted: { at: number; n: number }[] = [];
      let switched = 0;
      let denied = 0;
      for (const [index, { which, n, pause }] of steps.entries()) {
        clock.set(clock.now() + pause);
        const answer = await run(store, 'take', policies[which], n);
        if (index > 0 && steps[index - 1].which !== which) switched++;
        if (answer.allowed) admitted.push({ at: clock.now(), n });
        if (answer.allowed || answer.retryAfter === Infinity) continue;
        denied++;
        clock.set(clock.now() + answer.retryAfter - 1);
        expect((await run(store, 'estimate', policies[which], n)).allowed).toBe(false);
        clock.set(clock.now() + 1);
        expect((await run(store, 'estimate', policies[which], n)).allowed).toBe(true);
      }
      for (let first = 0; first < admitted.length; first++) {
        let sum = 0;
        for (const { at, n } of admitted.slice(first)) {
          sum += n;
          expect(sum).toBeLessThanOrEqual(capacity + rate * (at - admitted[first].at) + 1e-6);
        }
      }
      if (switched > 5 && denied > 2) cover();
    });
  });
});

describe('Both stores', () => {
  it('answer the same', async () => {
    const verbs = fc.constantFrom<Verb>(
      'take',
      'take',
      'take',
      'estimate',
      'charge',
      'put',
      'takeUpTo',
      'block',
      'reset',
    );
    const step = fc.record({
      verb: verbs,
      which: fc.nat(2),
      n: fc.constantFrom(1, 2, 0.5, 3.001),
      pause: pauses,
      maxWait: fc.constantFrom(0, 0, 50),
      mark: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined }),
    });
    const shapes = fc.constantFrom<fc.Arbitrary<LimitNumbers>[]>([bucket], [bucket, bucket], [bucket, windowLimits]);
    const values = shapes.chain((shape) =>
      fc.record({
        options: fc.array(fc.tuple(...shape), { minLength: 3, maxLength: 3 }),
        length: fc.integer({ min: 1, max: 60 }),
        steps: fc.array(step, { minLength: 30, maxLength: 60 }),
      }),
    );
    await checkProperty(redis.runs, 0.5, values, async ({ options, length, steps }, cover) => {
      // Windows of different lengths are different buckets.
      const policies = options.map((limits) =>
        resolved({ limits: limits.map((limit) => ('maxRequest' in limit ? { ...limit, duration: length } : limit)) }),
      );
      const clock = new FakeClock();
      const stores = [memory.make(clock), redis.make(clock)];
      let denied = 0;
      for (const { verb, which, n, pause, maxWait, mark } of steps) {
        clock.set(clock.now() + pause);
        const marked = verb === 'take' || verb === 'put' || verb === 'charge' ? mark : undefined;
        const take = takeOf(policies[which], n, { maxWait: verb === 'take' ? maxWait : 0, mark: marked });
        const takes = [{ ...take, amount: Math.round(take.amount) }];
        const answers = [];
        for (const store of stores) answers.push(plainAnswer(await store.run({ verb, takes, duration: 20 })));
        expect(answers[1]).toEqual(answers[0]);
        if (!answers[0].allowed) denied++;
      }
      if (denied > 2) cover();
    });
  });
});
