import { afterAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { RedisStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import type { BucketState } from '../../../src/core/algorithms/algorithm.js';
import { plainAnswer, toAnswer } from '../../../src/core/answer.js';
import { lifetime, newState } from '../../../src/core/bucket-state.js';
import { execute } from '../../../src/core/execute.js';
import { parsePolicy } from '../../../src/core/policy.js';
import type { StoreRequest, Take } from '../../../src/core/request.js';
import { redisKey } from '../../../src/stores/redis/redis-key.js';
import { redisUrl } from '../../support/redis.js';
import { checkProperty, largeWindowLimits, pauses, smallLimits } from '../../support/store-subject.js';
import { BLOCKED, MARKED, QUEUED, storedState } from '../../support/stored-state.js';

const limitSets = fc.array(
  fc.oneof({ arbitrary: smallLimits, weight: 4 }, { arbitrary: largeWindowLimits, weight: 1 }),
  { minLength: 1, maxLength: 3 },
);
const steps = fc.array(
  fc.record({
    pause: fc.oneof(
      { arbitrary: fc.oneof(fc.constant(0), pauses), weight: 14 },
      { arbitrary: fc.integer({ min: -200, max: -1 }), weight: 1 },
    ),
    verb: fc.oneof(
      { arbitrary: fc.constant('take' as const), weight: 10 },
      { arbitrary: fc.constantFrom('charge' as const, 'put' as const, 'cancel' as const), weight: 4 },
      { arbitrary: fc.constant('block' as const), weight: 1 },
      { arbitrary: fc.constantFrom('unblock' as const, 'reset' as const), weight: 1 },
    ),
    amounts: fc.array(
      fc.oneof(
        { arbitrary: fc.constantFrom(0, 500, 1000, 1000, 3000), weight: 6 },
        { arbitrary: fc.constantFrom(2 ** 48 - 1, 2 ** 48, 2 ** 53 - 1), weight: 1 },
      ),
      { minLength: 3, maxLength: 3 },
    ),
    perLimit: fc.boolean(),
    isMarked: fc.boolean(),
    age: fc.integer({ min: 1, max: 6 }),
    maxWait: fc.constantFrom(0, 30, Infinity),
  }),
  { minLength: 12, maxLength: 40, size: 'max' },
);
type Step = typeof steps extends fc.Arbitrary<(infer One)[]> ? One : never;

/** Executes requests on one bucket whose state is kept as it is. */
class Reference {
  state: BucketState | undefined;

  constructor(private readonly clock: FakeClock) {}

  run(request: StoreRequest) {
    const now = this.clock.now();
    const { policy } = request.takes[0];
    const state = this.state ? copyOf(this.state) : newState(policy);
    const row: number[] = [];
    execute(request, [state], now, row);
    if (state.changed) this.state = lifetime(policy, state, now) === 0 ? undefined : { ...state, changed: false };
    return toAnswer(request.takes, row, 'store');
  }
}

const copyOf = (state: BucketState): BucketState => ({
  ...state,
  debts: [...state.debts],
  parts: state.parts.map((part) => part?.clone()),
});

describe('the stored state of a bucket', () => {
  const client = new Redis(redisUrl());
  const prefix = `stored-${process.pid}:`;
  afterAll(() => client.quit());
  let runs = 0;

  it('contains the state that the same requests have in TypeScript', async () => {
    const seen = { compact: 0, large: 0, [BLOCKED]: 0, [MARKED]: 0, [QUEUED]: 0 };
    const completed = await checkProperty(120, 0, fc.tuple(limitSets, steps), async ([limits, script]) => {
      const clock = new FakeClock();
      const policy = parsePolicy({ limits }, 'test');
      const store = new RedisStore({ client, prefix, clock });
      const reference = new Reference(clock);
      const key = `${runs++}`;
      let reserved: Pick<StoreRequest, 'takes' | 'actAt'> | undefined;
      const requestOf = ({ verb, amounts, perLimit, isMarked, age, maxWait }: Step, index: number): StoreRequest => {
        if (verb === 'cancel' && reserved) return { verb, ...reserved };
        const own = amounts.slice(0, limits.length);
        const take: Take = { policy, key, amount: perLimit ? Math.max(...own) : amounts[0], maxWait };
        // Each take has a mark of its own; others refer to that of an earlier one.
        const mark = verb === 'take' ? index : index - age;
        const more = { ...(perLimit && { amounts: own }), ...(isMarked && { mark }) };
        return { verb: verb === 'cancel' ? 'put' : verb, takes: [{ ...take, ...more }], duration: 25 };
      };
      for (const [index, step] of script.entries()) {
        clock.set(clock.now() + step.pause);
        const request = requestOf(step, 10 + index);
        const expected = reference.run(request);
        expect([index, plainAnswer(await store.run(request))]).toEqual([index, plainAnswer(expected)]);
        if (request.verb === 'take' && expected.delay > 0) reserved = { takes: request.takes, actAt: expected.actAt };
        const value = await client.getBuffer(redisKey(prefix, key, policy));
        const { state } = reference;
        expect([index, value?.toString('hex')]).toEqual([index, state && storedState(state).toString('hex')]);
        const flags = value && value.length % 2 === 1 ? value[value.length - 1] : undefined;
        if (value && flags === undefined) seen.compact++;
        if (flags === 0) seen.large++;
        for (const flag of [BLOCKED, MARKED, QUEUED] as const) if (flags !== undefined && flags & flag) seen[flag]++;
      }
      store.close();
    });
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(completed / 5);
  });
});
