import { afterAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { RateLimitStoreError, type RedisClient, RedisStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import type { StoreAnswer } from '../../../src/core/decision.js';
import { type LimitOptions, parsePolicy } from '../../../src/core/policy.js';
import type { StoreRequest, Take } from '../../../src/core/request.js';
import { redisKey, toHashTag } from '../../../src/stores/redis/redis-key.js';
import { redisUrl } from '../../support/redis.js';
import { compactState, extendedState } from '../../support/stored-state.js';

const BUCKET = { name: 'bucket', capacity: 5, refill: 0 };
const WINDOW = { name: 'window', maxRequest: 3, duration: 10 };
const BOTH = {
  name: 'both',
  limits: [
    { capacity: 5, refill: 0 },
    { maxRequest: 3, duration: 10 },
  ],
};

const take = (policy: LimitOptions, key: string): Take => ({
  policy: parsePolicy(policy, 'test'),
  key,
  amount: 1000,
  maxWait: 0,
});

function expectValid(answer: StoreAnswer): void {
  const { allowed, remaining, retryAfter, resetAfter, delay } = answer;
  expect(typeof allowed).toBe('boolean');
  for (const number of [remaining, delay]) expect(Number.isFinite(number) && number >= 0).toBe(true);
  for (const time of [retryAfter, resetAfter]) expect(time).toEqual(expect.any(Number));
}

describe('RedisStore with invalid replies', () => {
  const scalars = fc.oneof(
    fc.integer(),
    fc.double(),
    fc.constantFrom(-1, 0, 1, 1000, 2 ** 53, Number.NaN, null, undefined, '', 'OK', '1', '-1', 'NaN'),
    fc.string(),
    fc.constant(new Error('inner')),
  );
  const replies = fc.oneof(
    fc.array(fc.oneof(scalars, fc.array(scalars)), { maxLength: 20 }),
    fc.array(fc.integer({ min: -2, max: 5000 }), { minLength: 9, maxLength: 9 }),
    fc.object(),
    scalars,
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  );

  it.each([BUCKET, WINDOW, BOTH])(
    'rejects with a RateLimitStoreError or returns a valid answer for $name',
    async (policy) => {
      await fc.assert(
        fc.asyncProperty(replies, fc.boolean(), fc.integer({ min: 1, max: 3 }), async (reply, throws, count) => {
          const respond = async () => {
            if (throws) throw reply;
            return reply;
          };
          const client = {
            evalshaBuffer: respond,
            evalBuffer: respond,
            time: respond,
            on: () => {},
            removeListener: () => {},
          };
          const store = new RedisStore({ client: client as unknown as RedisClient, timeout: 50 });
          const pending = Array.from({ length: count }, (_, i) =>
            store.run({ verb: 'take', takes: [take(policy, `${i}`)] }),
          );
          for (const result of await Promise.allSettled(pending)) {
            if (result.status === 'fulfilled') {
              expectValid(result.value);
            } else {
              expect(result.reason).toBeInstanceOf(RateLimitStoreError);
              expect(result.reason.message).toMatch(
                /^Redis sent an unexpected script reply: |^Redis command failed: |^Redis rejects writes: |^Unreadable bucket |after its 50 ms deadline$/,
              );
            }
          }
          store.close();
        }),
        { numRuns: 1000 },
      );
    },
  );
});

describe('RedisStore with corrupt data', () => {
  const client = new Redis(redisUrl());
  const prefix = `corrupt-${process.pid}:`;
  const store = new RedisStore({ client, prefix });
  afterAll(() => client.quit());
  const run = (verb: StoreRequest['verb'], ...takes: Take[]) => store.run({ verb, takes });
  const keyOf = ({ policy, key }: Take) => redisKey(prefix, toHashTag(key, false), policy);

  const numbers = fc.oneof(
    fc.constantFrom(0, 1, -1, 0.5, 1e300, -1e300, 2 ** 53, 1_700_000_000_000, 9_000_000_000_000, Number.NaN, Infinity),
    fc.integer(),
  );
  // Arbitrary numbers, and numbers that start like a window, in both formats.
  const window = fc
    .tuple(fc.nat(5000), fc.array(numbers, { maxLength: 6 }))
    .map(([sum, entries]) => [1_700_000_000_000, sum, ...entries]);
  const lists = fc.oneof(fc.array(numbers, { maxLength: 9 }), window);
  const extended = fc.tuple(lists, fc.nat(255)).map(([list, flags]) => extendedState(list, flags));
  const compact = lists.map((list) =>
    compactState(list.map((number) => (Number.isSafeInteger(number) && number > 0 ? number : 0))),
  );
  const bytes = fc.uint8Array({ maxLength: 40 }).map((list) => Buffer.from(list));
  const json = fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value)));

  it.each([BUCKET, WINDOW, BOTH])(
    'rejects only requests for the corrupt bucket of $name, and leaves its value in place',
    async (policy) => {
      let unreadable = 0;
      await fc.assert(
        fc.asyncProperty(fc.oneof(bytes, extended, compact, json), async (value) => {
          const bad = take(policy, 'bad');
          const good = take(policy, 'good');
          await client.del(keyOf(good));
          await client.set(keyOf(bad), value);
          const [goodOnly, badOnly, both] = await Promise.allSettled([
            run('take', good),
            run('take', bad),
            run('take', good, bad),
          ]);
          expect(goodOnly).toMatchObject({ status: 'fulfilled', value: { allowed: true } });
          if (badOnly.status === 'fulfilled') {
            expectValid(badOnly.value);
            return;
          }
          unreadable++;
          expect(badOnly.reason).toMatchObject({ scope: 'bucket', message: expect.stringContaining(keyOf(bad)) });
          expect(both).toMatchObject({ status: 'rejected', reason: { scope: 'bucket' } });
          expect(await client.getBuffer(keyOf(bad))).toEqual(value);
          expect((await run('estimate', { ...good, amount: 0 })).balance).toBe(policy === BUCKET ? 4 : 2);
        }),
        { numRuns: 300 },
      );
      expect(unreadable).toBeGreaterThan(200);
    },
  );

  it.each([
    ['a sum but no admissions', [1000]],
    ['a sum of more than its admissions', [9000, -500, 1000]],
    ['a sum of less than its admissions', [500, -500, 1000]],
    ['an admission without an amount', [2000, -1000, 1000, -500]],
  ])('rejects only requests for a window with %s', async (_, [sum, ...entries]) => {
    const clock = new FakeClock();
    const store = new RedisStore({ client, prefix, clock });
    const [bad, good] = [take(WINDOW, 'bad window'), take(WINDOW, 'good window')];
    await client.del(keyOf(good));
    const times = entries.map((number, i) => (i % 2 === 0 ? clock.now() + number : number));
    const value = compactState([clock.now() - 500, sum, ...times]);
    await client.set(keyOf(bad), value);
    const [badResult, goodResult] = await Promise.allSettled(
      [bad, good].map((each) => store.run({ verb: 'take', takes: [each] })),
    );
    expect(badResult).toMatchObject({ status: 'rejected', reason: { scope: 'bucket' } });
    expect(goodResult).toMatchObject({ status: 'fulfilled', value: { balance: 2 } });
    expect(await client.getBuffer(keyOf(bad))).toEqual(value);
  });

  it.each(['reset', 'put', 'charge', 'takeUpTo', 'estimate', 'cancel', 'block', 'unblock'] as const)(
    'does not overwrite a corrupt value on %s',
    async (verb) => {
      const bad = take(BUCKET, 'bad');
      await client.set(keyOf(bad), 'foreign');
      await expect(store.run({ verb, takes: [bad], actAt: [0], duration: 5 })).rejects.toMatchObject({
        scope: 'bucket',
      });
      expect(await client.get(keyOf(bad))).toBe('foreign');
    },
  );
});

describe('RedisStore keys', () => {
  const client = new Redis(redisUrl());
  const prefix = `keys-${process.pid}:`;
  afterAll(() => client.quit());

  it('maps each string to its own bucket and hash tag', async () => {
    const store = new RedisStore({ client, prefix });
    const seen = new Map<string, string>();
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string({ unit: 'binary', minLength: 1 }),
          fc.string({ minLength: 1 }),
          fc.constantFrom('}', '{', '{}', 'a}b', '%', '\ud800', '\ud801', ' ', '\n', '\0'),
        ),
        async (key) => {
          const redisName = redisKey(prefix, toHashTag(key, false), take(BUCKET, key).policy);
          expect(seen.get(redisName) ?? key).toBe(key);
          seen.set(redisName, key);
          expect(redisName.slice(prefix.length)).toMatch(/^\{[^{}]+\}:/);
          const { taken } = await store.run({ verb: 'take', takes: [{ ...take(BUCKET, key), amount: 1 }] });
          expect(taken).toBe(0.001);
          expect(await client.exists(redisName)).toBe(1);
        },
      ),
      { numRuns: 300 },
    );
  });
});
