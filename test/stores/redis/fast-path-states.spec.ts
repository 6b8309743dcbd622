import { afterAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { FakeClock } from 'nest-rate-limit/testing';
import { slidingWindow } from '../../../src/core/algorithms/sliding-window.js';
import { toAmount } from '../../../src/core/amount.js';
import type { LimitNumbers } from '../../../src/core/limit.js';
import { type Policy, parsePolicy } from '../../../src/core/policy.js';
import type { StoreRequest } from '../../../src/core/request.js';
import { redisKey } from '../../../src/stores/redis/redis-key.js';
import { addHits, COUNTING, openWithScript, outcomeOf, WITHOUT_FAST_PATH } from '../../support/patched-script.js';
import { redisUrl } from '../../support/redis.js';
import {
  bucketLimits,
  checkProperty,
  fractions,
  largeWindowLimits,
  smallLimits,
  windowLimits,
} from '../../support/store-subject.js';
import { BLOCKED, compactState, extendedState, MARKED, QUEUED } from '../../support/stored-state.js';

const NOW = new FakeClock().now();

/** Mostly `usual`, otherwise one of `others`. */
const mostly = <Value>(usual: fc.Arbitrary<Value>, others: fc.Arbitrary<Value>) =>
  fc.oneof({ arbitrary: usual, weight: 12 }, { arbitrary: others, weight: 1 });
/** What a compact state cannot store. */
const invalid = fc.constantFrom(-1, 0.5, NOW + 0.5, 1e300, -1e300, 2 ** 53, Number.NaN, Infinity, -Infinity);
const large = fc.constantFrom(2 ** 48 - 1, 2 ** 47, 0);
const past = fc.nat(100).map((ms) => NOW - ms);
const future = fc.integer({ min: 1, max: 100 }).map((ms) => NOW + ms);
/** After a step of the clock, a state may be from the future. */
const time = mostly(past, fc.oneof(future, large));

/** Their states outlive the least TTL of an injected clock. */
const SLOW: LimitNumbers[] = [
  { capacity: 5, refill: 1, unit: 'hours' },
  { maxRequest: 5, duration: 3600 },
];

const policies: fc.Arbitrary<Policy> = fc
  .record({
    limits: fc.oneof(
      { arbitrary: fc.array(bucketLimits, { minLength: 1, maxLength: 5 }), weight: 6 },
      { arbitrary: fc.oneof(windowLimits, largeWindowLimits).map((window) => [window]), weight: 6 },
      { arbitrary: fc.array(smallLimits, { minLength: 2, maxLength: 3 }), weight: 1 },
      { arbitrary: fc.constantFrom(...SLOW).map((limit) => [limit]), weight: 2 },
      { arbitrary: fc.constant([{ capacity: 3, refill: 0 }]), weight: 1 },
    ),
    block: mostly(fc.constant(0), fc.constant(25)),
  })
  .map(({ limits, block }) => parsePolicy({ name: 'p', limits, ...(block > 0 && { block }) }, 'test'));

const debts = (capacity: number) =>
  mostly(fc.nat(2 * capacity), fc.oneof(fc.constantFrom(capacity, capacity + 1), large)).map((debt) => [debt]);

/** A log with its sum. Only its end is ever wrong: the fast path checks no more than its ends. */
const logs = (period: number) =>
  fc
    .record({
      ages: fc.array(fc.integer({ min: -1, max: 2 * period }), { maxLength: 8 }),
      amounts: fc.array(fc.integer({ min: 1, max: 2500 }), { minLength: 8, maxLength: 8 }),
      last: mostly(fc.constant(undefined), large),
      lastAmount: mostly(fc.constant(undefined), fc.constant(2 ** 48 - 1)),
    })
    .map(({ ages, amounts, last, lastAmount }) => {
      const times = [...new Set(ages)].sort((a, b) => b - a).map((age) => NOW - age);
      const sum = amounts.slice(0, times.length).reduce((total, amount) => total + amount, 0);
      if (times.length > 0 && last !== undefined) times[times.length - 1] = last;
      if (times.length > 0 && lastAmount !== undefined) {
        times[times.length - 1] = NOW;
        amounts[times.length - 1] = lastAmount;
      }
      return [sum, ...times.flatMap((at, i) => [at, amounts[i]])];
    });

/** A block, marks of settlements, queued requests, or what another version or other code may have added. */
const sections = ({ limits }: Policy): fc.Arbitrary<{ flags: number; numbers: readonly number[] }> => {
  const amounts = limits.map(() => 500);
  return fc.oneof(
    fc.oneof(past, future, invalid).map((end) => ({ flags: BLOCKED, numbers: [end] })),
    fc.constant({ flags: MARKED, numbers: [1, 77, ...amounts] }),
    future.map((actAt) => ({ flags: QUEUED, numbers: [...amounts, 1, actAt, ...amounts] })),
    fc.record({ flags: fc.nat(15), numbers: fc.array(fc.oneof(fc.nat(3), invalid), { maxLength: 4 }) }),
  );
};

function states(policy: Policy): fc.Arbitrary<Buffer> {
  const parts = policy.limits.map(({ algorithm, capacity, period }) =>
    algorithm === slidingWindow ? logs(period) : debts(capacity),
  );
  const numbers = fc.tuple(time, fc.tuple(...parts)).map(([at, limits]) => [at, ...limits.flat()]);
  const compact = numbers.map(compactState);
  const extended = fc
    .tuple(numbers, sections(policy))
    .map(([head, { flags, numbers: tail }]) => extendedState([...head, ...tail], flags));
  // Not between two admissions, which only the general path notices.
  const length = fc.nat(60).filter((bytes) => bytes <= 12 || bytes % 12 !== 0);
  const cut = fc.tuple(compact, length).map(([bytes, end]) => bytes.subarray(0, end));
  return mostly(compact, fc.oneof(extended, cut));
}

const cases = policies.chain((policy) =>
  fc.record({
    policy: fc.constant(policy),
    state: mostly<Buffer | undefined>(states(policy), fc.constant(undefined)),
    n: fractions,
    maxWait: mostly(fc.constant(0), fc.constantFrom(3, 50, Infinity)),
  }),
);

describe('RedisStore fast path', () => {
  const client = new Redis(redisUrl());
  afterAll(() => client.quit());

  it('returns and stores the same as the general path for any stored state', async () => {
    const clock = new FakeClock();
    const stores = [COUNTING, WITHOUT_FAST_PATH].map((script) => openWithScript(client, script, clock));
    const hits = [0, 0];
    const seen = { allowed: 0, denied: 0, unreadable: 0 };
    const completed = await checkProperty(1500, 0, cases, async ({ policy, state, n, maxWait }) => {
      const take = { policy, key: 'k', amount: toAmount(n) as number, maxWait };
      const [fast, general] = await Promise.all(
        stores.map(async ({ store, prefix, stored }) => {
          const key = redisKey(prefix, 'k', policy);
          await (state ? client.set(key, state, 'PX', 86_400_000) : client.del(key));
          const [result] = await Promise.allSettled([store.run({ verb: 'take', takes: [take] })]);
          const outcome = outcomeOf(result);
          if (result.status === 'rejected') seen.unreadable++;
          else seen[result.value.allowed ? 'allowed' : 'denied']++;
          const [values, ttl] = [await stored(), await client.pttl(key)];
          await client.del(key);
          return { outcome: JSON.stringify(outcome).replaceAll(prefix, ''), values, ttl };
        }),
      );
      expect([fast.outcome, fast.values]).toEqual([general.outcome, general.values]);
      // The two were written at different times.
      expect(Math.abs(fast.ttl - general.ttl)).toBeLessThan(30_000);
    });
    await addHits(client, hits);
    for (const count of hits) expect(count).toBeGreaterThan(completed / 10);
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(completed / 20);
  });

  it('leaves a value of another type in place and names its key', async () => {
    const { store, prefix } = openWithScript(client, COUNTING, new FakeClock());
    for (const numbers of [
      { capacity: 2, refill: 1 },
      { maxRequest: 2, duration: 10 },
    ]) {
      const policy = parsePolicy(numbers, 'test');
      const key = redisKey(prefix, 'list', policy);
      await client.rpush(key, 'foreign');
      const run = (name: string): StoreRequest => ({
        verb: 'take',
        takes: [{ policy, key: name, amount: 1000, maxWait: 0 }],
      });
      await expect(store.run(run('list'))).rejects.toMatchObject({
        scope: 'bucket',
        message: expect.stringContaining(key),
      });
      const [before, list, after] = await Promise.allSettled(['a', 'list', 'a'].map((name) => store.run(run(name))));
      expect([before.status, list.status, after.status]).toEqual(['fulfilled', 'rejected', 'fulfilled']);
      expect(await client.lrange(key, 0, -1)).toEqual(['foreign']);
    }
  });
});
