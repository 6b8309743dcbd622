import { describe, expect, it } from '@jest/globals';
import { FakeClock } from 'nest-rate-limit/testing';
import type { LimitNumbers } from '../../src/core/limit.js';
import { parsePolicy } from '../../src/core/policy.js';
import { Subject, storeKinds, subject } from '../support/store-subject.js';

const { memory, redis } = storeKinds();
const ms = { unit: 'milliseconds' } as const;

/** Each of these cases was once a bug in one of the stores or in both. */
describe.each([memory, redis])('regressions: $name', (kind) => {
  it('does not accumulate refills beyond the capacity while a request is queued', async () => {
    const options = { capacity: 10, refill: 10, duration: 1, unit: 'minutes', refillMode: 'intervally' } as const;
    const bucket = subject(kind, options, new FakeClock());
    await bucket.take(5);
    expect((await bucket.take(6, Infinity)).delay).toBe(60_000);
    await bucket.clock.advance(60_000);
    expect((await bucket.run('estimate')).balance).toBe(4);
  });

  it('keeps a later reservation that only another limit delays when an earlier one is canceled', async () => {
    const limits: LimitNumbers[] = [
      { capacity: 10, refill: 1, duration: 1, ...ms },
      { maxRequest: 20, duration: 110, ...ms },
    ];
    const bucket = subject(kind, { limits });
    await bucket.take(10);
    await bucket.clock.advance(10);
    await bucket.take(10);
    const canceled = await bucket.take(10, Infinity);
    const later = await bucket.take(5, Infinity);
    expect([canceled.delay, later.delay]).toEqual([100, 110]);
    await bucket.run('cancel', 10, { actAt: canceled.actAt });
    await bucket.clock.advance(110);
    // 5 are admitted now, so at most 5 more may be.
    expect((await bucket.estimate(6)).allowed).toBe(false);
  });

  it('refunds a canceled reservation to all limits if no later reservation depends on it', async () => {
    const bucket = subject(kind, {
      limits: [
        { capacity: 2, refill: 1 },
        { capacity: 4, refill: 1 },
      ],
    });
    await bucket.take(2);
    const canceled = await bucket.take(1, Infinity);
    await bucket.run('cancel', 1, { actAt: canceled.actAt });
    expect((await bucket.take(1, Infinity)).delay).toBe(1000);
  });

  it.each<LimitNumbers>([
    { capacity: 5, refill: 5, unit: 'hours' },
    { maxRequest: 5, unit: 'hours' },
  ])('refunds nothing for a reservation from before a reset: %j', async (limit) => {
    const bucket = subject(kind, limit);
    await bucket.take(5);
    const canceled = await bucket.take(1, Infinity);
    await bucket.run('reset', 0);
    await bucket.take(5);
    await bucket.run('cancel', 1, { actAt: canceled.actAt });
    expect((await bucket.take(1)).allowed).toBe(false);
  });

  it('does not restore an expired block when the clock steps back', async () => {
    const bucket = subject(kind, { capacity: 5, refill: 1 });
    await bucket.run('block', 0, { duration: 1000 });
    await bucket.clock.advance(1500);
    expect((await bucket.take(1)).allowed).toBe(true);
    bucket.clock.set(bucket.clock.now() - 100);
    expect(await bucket.take(1)).toMatchObject({ allowed: true, remaining: 3 });
  });

  it.each(['take', 'charge'] as const)('does not count a %s of nothing as an admission of a window', async (verb) => {
    const bucket = subject(kind, { limits: [{ maxRequest: 5 }, { capacity: 50, refill: 1 }] });
    const takes = [{ policy: bucket.policy, key: bucket.key, amount: 1000, amounts: [0, 1000], maxWait: 0 }];
    await bucket.store.run({ verb, takes });
    bucket.advance(100);
    await bucket.take(1);
    bucket.advance(100);
    await bucket.store.run({ verb, takes });
    const [window] = (await bucket.run('estimate')).limits ?? [];
    expect(window).toMatchObject({ remaining: 4, resetAfter: 900, moreAfter: 900 });
  });

  it('keeps expired window entries on a denial, in case the clock steps back', async () => {
    const bucket = subject(kind, { maxRequest: 2, duration: 10 });
    await bucket.take(1);
    await bucket.clock.advance(9000);
    await bucket.take(1);
    await bucket.clock.advance(1000);
    expect((await bucket.take(2)).allowed).toBe(false);
    bucket.clock.set(bucket.clock.now() - 500);
    expect(await bucket.take(1)).toMatchObject({ allowed: false, retryAfter: 500 });
  });

  it('replaces the state that the new policy already had for the key', async () => {
    const old = subject(kind, { name: 'p', capacity: 5, refill: 1 });
    const to = parsePolicy({ name: 'p', limits: [{ capacity: 9, refill: 1 }, { maxRequest: 9 }] }, 'p');
    const target = new Subject(old.store, old.clock, to);
    await target.take(8);
    await old.take(1);
    await old.run('replace', 0, { to, strategy: 'as-is' });
    const { limits } = await target.run('estimate');
    expect(limits.map(({ remaining }) => remaining)).toEqual([4, 9]);
    await target.take(3);
    await old.run('replace', 0, { to, strategy: 'reset' });
    expect((await target.run('estimate')).balance).toBe(9);
  });

  it('caps a debt that is carried over to a much slower policy', async () => {
    const old = subject(kind, { name: 'p', capacity: 5, refill: 1, ...ms });
    const to = parsePolicy({ name: 'p', capacity: 5, refill: 1, duration: 1, unit: 'days' }, 'p');
    await old.run('charge', 1e9);
    await old.run('replace', 0, { to, strategy: 'as-is' });
    const answer = await new Subject(old.store, old.clock, to).estimate(1);
    expect(answer.allowed).toBe(false);
    expect(answer.retryAfter).toBeGreaterThan(1e15);
  });

  it('returns a whole number of milliseconds for any charge', async () => {
    const bucket = subject(kind, { capacity: 5, refill: 1, duration: 1, unit: 'days', refillMode: 'intervally' });
    const answer = await bucket.run('charge', 1e12);
    expect(answer.retryAfter).toBe(2 ** 52);
    await bucket.run('put', 1e12);
    expect((await bucket.take(1)).allowed).toBe(true);
  });

  it.each([
    ['one-limit', { capacity: 1, refill: 1 }],
    ['two-limit', { limits: [{ capacity: 1, refill: 1 }, { maxRequest: 9 }] }],
  ])(
    'applies the block of the requested policy even if a non-blocking policy shares its %s bucket',
    async (_, limits) => {
      const plain = subject(kind, { name: 'p', ...limits });
      const strict = new Subject(plain.store, plain.clock, parsePolicy({ name: 'p', ...limits, block: '1m' }, 'p'));
      await plain.take(1);
      expect((await plain.take(1)).retryAfter).toBe(1000);
      expect((await strict.take(1)).retryAfter).toBe(60_000);
      expect((await plain.take(1)).retryAfter).toBe(60_000);
    },
  );
});
