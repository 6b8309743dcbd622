import { afterAll, afterEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { MemoryStore, RedisStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { toAmount } from '../../../src/core/amount.js';
import { plainAnswer } from '../../../src/core/answer.js';
import { type LimitOptions, type Policy, parsePolicy } from '../../../src/core/policy.js';
import { mergeTakes, type StoreRequest } from '../../../src/core/request.js';
import { redisKey } from '../../../src/stores/redis/redis-key.js';
import { addHits, COUNTING, openWithScript, outcomeOf, WITHOUT_FAST_PATH } from '../../support/patched-script.js';
import { redisUrl, startRedis } from '../../support/redis.js';
import {
  bucketLimits,
  checkProperty,
  fractions,
  largeWindowLimits,
  pauses,
  smallLimits,
  windowLimits,
} from '../../support/store-subject.js';

/** Requests sent in one turn of the event loop, `pause` ms after the previous turn. */
interface Turn {
  readonly pause: number;
  readonly requests: readonly RequestSpec[];
}
interface RequestSpec {
  readonly verb: StoreRequest['verb'] | 'takeSeveral';
  readonly policy: number;
  readonly to: number;
  readonly key: string;
  readonly n: number;
  readonly maxWait: number;
}

const HUGE: LimitOptions[] = [
  { capacity: 4_503_599_627_370, refill: 1 },
  { capacity: 4_503_599_627_370, refill: 4_503_599_627_370 },
].map((numbers) => ({ ...numbers, unit: 'milliseconds' }));

const limits = fc.oneof(
  { arbitrary: fc.array(bucketLimits, { minLength: 1, maxLength: 4 }), weight: 6 },
  { arbitrary: fc.oneof(windowLimits, largeWindowLimits).map((window) => [window]), weight: 6 },
  { arbitrary: fc.array(smallLimits, { minLength: 2, maxLength: 3 }), weight: 2 },
  { arbitrary: fc.constantFrom(...HUGE.map((huge) => [huge])), weight: 1 },
  { arbitrary: fc.constantFrom([{ capacity: 3, refill: 0 }]), weight: 1 },
);

const policySets = fc.tuple(limits, limits).map(([one, other]): Policy[] => {
  const policies: LimitOptions[] = [
    { name: 'p', limits: one },
    // The same buckets, but a denial blocks the key.
    { name: 'p', limits: one, block: 25 },
    { name: 'q', limits: other },
  ];
  return policies.map((options) => parsePolicy(options, 'test'));
});

const turns = (keys: readonly string[], pause: fc.Arbitrary<number>): fc.Arbitrary<Turn[]> =>
  fc.array(
    fc.record({
      pause,
      requests: fc.array(
        fc.record({
          verb: fc.oneof(
            { arbitrary: fc.constant('take' as const), weight: 20 },
            {
              arbitrary: fc.constantFrom(
                ...(['estimate', 'put', 'charge', 'takeUpTo', 'reset', 'block', 'unblock', 'replace'] as const),
                'takeSeveral' as const,
              ),
              weight: 2,
            },
          ),
          policy: fc.oneof({ arbitrary: fc.constant(0), weight: 4 }, fc.nat(2)),
          to: fc.nat(2),
          key: fc.constantFrom(...keys),
          n: fc.oneof(
            { arbitrary: fc.constant(1), weight: 10 },
            { arbitrary: fractions, weight: 8 },
            { arbitrary: fc.constantFrom(4_503_599_627_369.5, 4_503_599_627_370, 9_007_199_254_740), weight: 1 },
          ),
          maxWait: fc.oneof({ arbitrary: fc.constant(0), weight: 8 }, fc.constantFrom(3, 50, Infinity)),
        }),
        { minLength: 1, maxLength: 12 },
      ),
    }),
    { minLength: 3, maxLength: 12 },
  );

function requestOf(policies: readonly Policy[], { verb, policy, to, key, n, maxWait }: RequestSpec): StoreRequest {
  const amount = toAmount(n) as number;
  const take = { policy: policies[policy], key, amount, maxWait };
  if (verb === 'takeSeveral') {
    return { verb: 'take', takes: mergeTakes([take, { ...take, policy: policies[2] }, { ...take, key: 'b' }]) };
  }
  if (verb !== 'replace') return { verb, takes: [take], duration: 20 };
  const strategy = 'as-is';
  if (policies[to].id === take.policy.id) return { verb: 'reset', takes: [take] };
  return { verb, takes: [take], to: policies[to], strategy };
}

describe('RedisStore fast path', () => {
  const client = new Redis(redisUrl());
  afterAll(() => client.quit());
  const cleanups: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0)) await cleanup();
  });
  it('returns the same answers as MemoryStore', async () => {
    const hits = [0, 0];
    let [compared, denied] = [0, 0];
    await checkProperty(150, 0, fc.tuple(policySets, turns(['a', 'b', 'bad'], pauses)), async ([policies, script]) => {
      const clock = new FakeClock();
      const memory = new MemoryStore({ clock });
      memory.close();
      const { store, prefix } = openWithScript(client, COUNTING, clock);
      for (const policy of policies) await client.set(redisKey(prefix, 'bad', policy), 'foreign');
      for (const [index, { pause, requests }] of script.entries()) {
        clock.set(clock.now() + pause);
        const all = requests.map((each) => requestOf(policies, each));
        const answers = await Promise.allSettled(all.map((request) => store.run(request)));
        for (const [i, request] of all.entries()) {
          const where = `turn ${index}, request ${i}`;
          if (request.takes.some(({ key }) => key === 'bad')) {
            expect([where, outcomeOf(answers[i])]).toEqual([where, expect.stringContaining('Unreadable bucket ')]);
            continue;
          }
          const expected = memory.run(request);
          compared++;
          if (!expected.allowed) denied++;
          expect([where, outcomeOf(answers[i])]).toEqual([where, outcomeOf({ status: 'fulfilled', value: expected })]);
        }
      }
      await addHits(client, hits);
    });
    for (const count of hits) expect(count).toBeGreaterThan(compared / 12);
    expect(denied).toBeGreaterThan(compared / 10);
  });

  it('returns and stores the same as the regular path, even if the clock steps back', async () => {
    const hits = [0, 0];
    let compared = 0;
    const pause = fc.oneof(
      { arbitrary: pauses, weight: 6 },
      { arbitrary: fc.integer({ min: -300, max: -1 }), weight: 1 },
    );
    await checkProperty(150, 0, fc.tuple(policySets, turns(['a', 'b'], pause)), async ([policies, script]) => {
      const clock = new FakeClock();
      const fast = openWithScript(client, COUNTING, clock);
      const regular = openWithScript(client, WITHOUT_FAST_PATH, clock);
      for (const [index, { pause, requests }] of script.entries()) {
        clock.set(clock.now() + pause);
        const all = requests.map((each) => requestOf(policies, each));
        compared += all.length;
        const [answers, expected] = await Promise.all(
          [fast, regular].map(({ store }) => Promise.allSettled(all.map((request) => store.run(request)))),
        );
        expect([index, ...answers.map(outcomeOf)]).toEqual([index, ...expected.map(outcomeOf)]);
        expect([index, await fast.stored()]).toEqual([index, await regular.stored()]);
      }
      await addHits(client, hits);
    });
    for (const count of hits) expect(count).toBeGreaterThan(compared / 12);
  });

  it('matches MemoryStore when fractional costs exceed the exact entries of a window', async () => {
    const clock = new FakeClock();
    const memory = new MemoryStore({ clock });
    memory.close();
    const { store } = openWithScript(client, COUNTING, clock);
    const policy = parsePolicy({ maxRequest: 1, duration: 1 }, 'test');
    for (let i = 0; i < 1500; i++) {
      clock.set(clock.now() + (i % 7 === 0 ? 3 : 1));
      const request: StoreRequest = { verb: 'take', takes: [{ policy, key: 'a', amount: 1 + (i % 5), maxWait: 0 }] };
      expect([i, plainAnswer(await store.run(request))]).toEqual([i, plainAnswer(memory.run(request))]);
    }
    const hits = [0, 0];
    await addHits(client, hits);
    expect(hits[1]).toBeGreaterThan(500);
  });

  it.each([
    ['is out of memory', ['CONFIG', 'SET', 'maxmemory', '1'], ['CONFIG', 'SET', 'maxmemory', '0']],
    [
      'has lost its replicas',
      ['CONFIG', 'SET', 'min-replicas-to-write', '1'],
      ['CONFIG', 'SET', 'min-replicas-to-write', '0'],
    ],
    ['was demoted to a replica', ['REPLICAOF', '127.0.0.1', '1'], ['REPLICAOF', 'NO', 'ONE']],
  ])(
    'discards the whole batch if Redis %s',
    async (_, [breakCommand, ...breakArgs], [repairCommand, ...repairArgs]) => {
      const server = await startRedis();
      const own = new Redis(server.url);
      cleanups.push(
        () => own.disconnect(),
        () => server.stop(),
      );
      const store = new RedisStore({ client: own, clock: new FakeClock() });
      const policy = parsePolicy({ capacity: 5, refill: 1 }, 'test');
      const run = (verb: StoreRequest['verb'], key: string, n: number) =>
        store.run({ verb, takes: [{ policy, key, amount: n * 1000, maxWait: 0 }] });
      await Promise.all([run('take', 'a', 2), run('take', 'b', 5)]);
      await own.call(breakCommand, ...breakArgs);
      const batch = [
        run('take', 'b', 1),
        run('take', 'a', 1),
        run('take', 'new', 1),
        run('put', 'b', 5),
        run('take', 'a', 1),
      ];
      for (const result of await Promise.allSettled(batch)) {
        expect(result).toMatchObject({ status: 'rejected', reason: { scope: 'write' } });
      }
      await own.call(repairCommand, ...repairArgs);
      const balances = await Promise.all(['a', 'b', 'new'].map(async (key) => (await run('estimate', key, 0)).balance));
      expect(balances).toEqual([3, 0, 5]);
    },
  );
});
