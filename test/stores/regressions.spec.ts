import { describe, expect, it } from '@jest/globals';
import type { LimitNumbers } from '../../src/core/limit.js';
import { parsePolicy } from '../../src/core/policy.js';
import { Subject, storeKinds, subject } from '../support/store-subject.js';

const { memory, redis } = storeKinds();
const ms = { unit: 'milliseconds' } as const;

/** Each of these went wrong once, in one of the stores or in both. */
describe.each([memory, redis])('cases that once went wrong, in the $name', (kind) => {
  it('does not save up what a refill brings beyond full while somebody waits for it', async () => {
    const bucket = subject(kind, { capacity: 10, refill: 10, duration: 1, unit: 'minutes', refillMode: 'intervally' });
    await bucket.take(5);
    expect((await bucket.take(6, Infinity)).delay).toBe(60_000);
    await bucket.clock.advance(60_000);
    expect((await bucket.ask('estimate')).balance).toBe(4);
  });

  it('keeps the place of who waits behind, though only another limit makes him wait', async () => {
    const limits: LimitNumbers[] = [
      { capacity: 10, refill: 1, duration: 1, ...ms },
      { maxRequest: 20, duration: 110, ...ms },
    ];
    const bucket = subject(kind, { limits });
    await bucket.take(10);
    await bucket.clock.advance(10);
    await bucket.take(10);
    const gone = await bucket.take(10, Infinity);
    const stays = await bucket.take(5, Infinity);
    expect([gone.delay, stays.delay]).toEqual([100, 110]);
    await bucket.ask('cancel', 10, { actAt: gone.actAt });
    await bucket.clock.advance(110);
    // 5 act now, so no more than 5 others may.
    expect((await bucket.estimate(6)).allowed).toBe(false);
  });

  it('gives back to all limits what nobody behind relies on', async () => {
    const bucket = subject(kind, {
      limits: [
        { capacity: 2, refill: 1 },
        { capacity: 4, refill: 1 },
      ],
    });
    await bucket.take(2);
    const gone = await bucket.take(1, Infinity);
    await bucket.ask('cancel', 1, { actAt: gone.actAt });
    expect((await bucket.take(1, Infinity)).delay).toBe(1000);
  });

  it.each<LimitNumbers>([
    { capacity: 5, refill: 5, unit: 'hours' },
    { maxRequest: 5, unit: 'hours' },
  ])('gives nothing back of a place in line that a reset has ended: %j', async (numbers) => {
    const bucket = subject(kind, numbers);
    await bucket.take(5);
    const gone = await bucket.take(1, Infinity);
    await bucket.ask('reset', 0);
    await bucket.take(5);
    await bucket.ask('cancel', 1, { actAt: gone.actAt });
    expect((await bucket.take(1)).allowed).toBe(false);
  });

  it('does not find a block again that has ended, when the clock steps back', async () => {
    const bucket = subject(kind, { capacity: 5, refill: 1 });
    await bucket.ask('block', 0, { duration: 1000 });
    await bucket.clock.advance(1500);
    expect((await bucket.take(1)).allowed).toBe(true);
    bucket.clock.set(bucket.clock.now() - 100);
    expect(await bucket.take(1)).toMatchObject({ allowed: true, remaining: 3 });
  });

  it('forgets nothing of a window by a refusal, so that it is there when the clock steps back', async () => {
    const bucket = subject(kind, { maxRequest: 2, duration: 10 });
    await bucket.take(1);
    await bucket.clock.advance(9000);
    await bucket.take(1);
    await bucket.clock.advance(1000);
    expect((await bucket.take(2)).allowed).toBe(false);
    bucket.clock.set(bucket.clock.now() - 500);
    expect(await bucket.take(1)).toMatchObject({ allowed: false, retryAfter: 500 });
  });

  it('replaces what the new policy had held for the key before', async () => {
    const old = subject(kind, { name: 'p', capacity: 5, refill: 1 });
    const to = parsePolicy({ name: 'p', limits: [{ capacity: 9, refill: 1 }, { maxRequest: 9 }] }, 'p');
    const target = new Subject(old.store, old.clock, to);
    await target.take(8);
    await old.take(1);
    await old.ask('replace', 0, { to, strategy: 'as-is' });
    const { limits } = await target.ask('estimate');
    expect(limits.map(({ remaining }) => remaining)).toEqual([4, 9]);
    await target.take(3);
    await old.ask('replace', 0, { to, strategy: 'reset' });
    expect((await target.ask('estimate')).balance).toBe(9);
  });

  it('counts a debt that is carried over to much slower numbers as high as it can count', async () => {
    const old = subject(kind, { name: 'p', capacity: 5, refill: 1, ...ms });
    const to = parsePolicy({ name: 'p', capacity: 5, refill: 1, duration: 1, unit: 'days' }, 'p');
    await old.ask('charge', 1e9);
    await old.ask('replace', 0, { to, strategy: 'as-is' });
    const answer = await new Subject(old.store, old.clock, to).estimate(1);
    expect(answer.allowed).toBe(false);
    expect(answer.retryAfter).toBeGreaterThan(1e15);
  });

  it('tells a whole number of milliseconds whatever was charged', async () => {
    const bucket = subject(kind, { capacity: 5, refill: 1, duration: 1, unit: 'days', refillMode: 'intervally' });
    const answer = await bucket.ask('charge', 1e12);
    expect(answer.retryAfter).toBe(2 ** 52);
    await bucket.ask('put', 1e12);
    expect((await bucket.take(1)).allowed).toBe(true);
  });

  it.each([
    ['one limit', { capacity: 1, refill: 1 }],
    ['two', { limits: [{ capacity: 1, refill: 1 }, { maxRequest: 9 }] }],
  ])(
    'blocks by the policy that asks, also where one that does not block shares its bucket of %s',
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
