import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { FakeClock } from 'nest-rate-limit/testing';
import type { BucketState } from '../../src/core/algorithms/algorithm.js';
import { plainAnswer, toAnswer } from '../../src/core/answer.js';
import { newState } from '../../src/core/bucket-state.js';
import type { StoreAnswer } from '../../src/core/decision.js';
import { execute } from '../../src/core/execute.js';
import type { LimitNumbers } from '../../src/core/limit.js';
import { type LimitOptions, parsePolicy } from '../../src/core/policy.js';
import { bucketName, type StoreRequest } from '../../src/core/request.js';
import type { SlotHolder } from '../../src/core/slot-holder.js';
import { RateLimitStore } from '../../src/stores/rate-limit.store.js';
import type { Clock } from '../../src/util/clock.js';
import { SlotSubject } from '../support/slot-subject.js';
import { checkProperty, smallLimits, storeKinds } from '../support/store-subject.js';

const { memory, redis } = storeKinds();

const concurrencyLimits: fc.Arbitrary<LimitNumbers> = fc.record({
  concurrency: fc.integer({ min: 1, max: 6 }),
  slotTtl: fc.constantFrom(1000, 2000, 5000),
});
const slotPolicies: fc.Arbitrary<LimitOptions> = fc
  .tuple(concurrencyLimits, fc.array(smallLimits, { maxLength: 2 }), fc.nat(2), fc.constantFrom(undefined, 40))
  .map(([slots, others, place, block]) => ({
    name: 'slots',
    limits: others.toSpliced(place, 0, slots),
    ...(block && { block }),
  }));

const maybe = (numbers: fc.Arbitrary<number>, weight = 1) =>
  fc.oneof({ arbitrary: numbers, weight }, { arbitrary: fc.constant(undefined), weight: 2 });
const waits = maybe(fc.integer({ min: 0, max: 3000 }));
const holders: fc.Arbitrary<SlotHolder> = fc.record({
  id: fc.constantFrom(1, 2, 2 ** 47 - 1),
  count: maybe(fc.constantFrom(0, 0, 0, 1, 2, 5), 6),
  sequence: fc.nat(3),
  waited: waits,
  nextWaited: waits,
});
const pauses = fc.oneof(
  { arbitrary: fc.constantFrom(0, 0, 1, 3, 20), weight: 12 },
  { arbitrary: fc.integer({ min: 0, max: 1200 }), weight: 4 },
  { arbitrary: fc.constantFrom(2499, 2500, 5000), weight: 1 },
);
const stepsBack = fc.integer({ min: -9000, max: -1 });

const VERBS = ['estimate', 'put', 'charge', 'cancel', 'takeUpTo', 'reset', 'block', 'unblock', 'replace'] as const;
const verbs: fc.Arbitrary<StoreRequest['verb']> = fc.oneof(
  { arbitrary: fc.constant('take' as const), weight: 12 },
  { arbitrary: fc.constant('hold' as const), weight: 8 },
  { arbitrary: fc.constantFrom(...VERBS), weight: 4 },
);

/** Mostly one holder, none of whose requests wait. */
const onlyHolder: fc.Arbitrary<SlotHolder> = fc.oneof(
  {
    arbitrary: fc.record({ id: fc.constant(1), count: fc.constantFrom(0, 0, 1, 2), sequence: fc.constantFrom(0, 1) }),
    weight: 12,
  },
  { arbitrary: holders, weight: 1 },
);

const steps = (pause: fc.Arbitrary<number>, holder = holders) =>
  fc.array(
    fc.record({
      verb: verbs,
      pause,
      holder,
      second: fc.constantFrom(false, false, false, true),
      amount: fc.constantFrom(0, 500, 1000, 1000, 2000),
      maxWait: fc.constantFrom(0, 0, 30, 5000),
      mark: maybe(fc.nat(3)),
      strategy: fc.constantFrom('as-is' as const, 'reset' as const),
    }),
    { minLength: 20, maxLength: 40, size: 'max' },
  );

type Step = ReturnType<typeof steps> extends fc.Arbitrary<(infer One)[]> ? One : never;

/** Executes each request on the general path. */
class GeneralStore extends RateLimitStore {
  private readonly states = new Map<string, BucketState>();

  constructor(readonly clock: Clock) {
    super();
  }

  override run(request: StoreRequest): StoreAnswer {
    const { takes, to, verb } = request;
    const buckets = to ? [...takes, { ...takes[0], policy: to }] : takes;
    const states = buckets.map((take) => {
      const { parts, debts, ...rest } = this.states.get(bucketName(take)) ?? newState(take.policy);
      return { ...rest, debts: [...debts], parts: parts.map((part) => part?.clone()), changed: false };
    });
    const row: number[] = [];
    execute(request, states, this.clock.now(), row);
    for (const [i, state] of states.entries()) {
      if (state.changed && verb !== 'estimate') this.states.set(bucketName(buckets[i]), state);
    }
    return toAnswer(takes, row, 'store');
  }

  override subscribe(): () => void {
    return () => {};
  }
}

/** Runs the steps on one store and returns the answers, and whether takes were admitted and lacked a slot. */
async function runAll(
  make: (clock: FakeClock) => RateLimitStore,
  [options, other]: readonly LimitOptions[],
  script: readonly Step[],
): Promise<{ answers: unknown[]; admitted: number; missing: number }> {
  const clock = new FakeClock();
  const store = make(clock);
  const policy = parsePolicy(options, 'slots');
  const to = parsePolicy({ ...other, name: 'other' }, 'other');
  const answers: unknown[] = [];
  let admitted = 0;
  let missing = 0;
  for (const { verb, pause, holder, second, amount, maxWait, mark, strategy } of script) {
    clock.set(clock.now() + pause);
    const take = { policy, key: 'key', amount, maxWait, mark, holder };
    const takes = verb === 'take' && second ? [take, { ...take, policy: to, maxWait: 0 }] : [take];
    const more = { actAt: [clock.now() + 20], duration: 300, to: verb === 'replace' ? to : undefined, strategy };
    const answer = plainAnswer(await store.run({ ...more, verb, takes }));
    answers.push([verb, answer]);
    if (verb !== 'take') continue;
    if (answer.allowed) admitted++;
    else if (answer.limits.some(({ name, retryAfter }) => /concurrency|^slots$/.test(name) && retryAfter > 0))
      missing++;
  }
  return { answers, admitted, missing };
}

describe('slots', () => {
  it.each([
    ['', pauses],
    [' when the clock is set back', fc.oneof({ arbitrary: pauses, weight: 12 }, { arbitrary: stepsBack, weight: 1 })],
  ])('are the same in both stores%s', async (_, pause) => {
    const values = fc.tuple(fc.tuple(slotPolicies, slotPolicies), steps(pause));
    await checkProperty(redis.runs * 3, 0.2, values, async ([options, script], cover) => {
      const one = await runAll(memory.make, options, script);
      expect((await runAll(redis.make, options, script)).answers).toEqual(one.answers);
      if (one.admitted > 2 && one.missing > 2) cover();
    });
  });

  it.each([
    { ...memory, among: 'one process', holder: onlyHolder },
    { ...redis, among: 'one process', holder: onlyHolder },
    { ...redis, among: 'several processes', holder: holders },
  ])('of $among are the same on the fast path of a $name', async ({ make, runs, holder }) => {
    const single = concurrencyLimits.map((limit) => ({ ...limit, name: 'slots' }));
    const values = fc.tuple(fc.tuple(single, slotPolicies), fc.boolean(), steps(pauses, holder));
    let admitted = 0;
    const completed = await checkProperty(runs, 0, values, async ([options, isLasting, script]) => {
      const lasting = script.map((step) => ({ ...step, holder: { ...step.holder, isLasting } }));
      const used = make === memory.make ? lasting : script;
      const one = await runAll(make, options, used);
      expect(one.answers).toEqual((await runAll((clock) => new GeneralStore(clock), options, used)).answers);
      admitted += one.admitted;
    });
    expect(admitted).toBeGreaterThan(completed);
  });

  describe.each([memory, redis])('in a $name', ({ make, runs }) => {
    /** Truthful processes, none of which dies: they report in time, and every release. */
    it('are never more than `concurrency`, whatever else limits the requests', async () => {
      let denied = 0;
      const values = fc.tuple(slotPolicies, steps(pauses));
      const completed = await checkProperty(runs / 2, 0.5, values, async ([options, script], cover) => {
        const subject = new SlotSubject(make, { ...options, block: undefined });
        const held = new Map<number, number>();
        const size = subject.policy.limits[subject.policy.slotIndex].size;
        for (const { holder, pause, verb, maxWait, amount } of script) {
          subject.advance(Math.min(pause, 600));
          const { id } = holder;
          const before = held.get(id) ?? 0;
          if (verb === 'take') {
            const { allowed } = await subject.take(id, { maxWait, amount, waited: holder.waited });
            if (allowed) held.set(id, before + 1);
            else denied++;
          } else if (before > 0) {
            held.set(id, before - 1);
          }
          // Renews all of them.
          for (const [other, count] of held) await subject.hold(other, count);
          const sum = [...held.values()].reduce((total, count) => total + count, 0);
          expect(sum).toBeLessThanOrEqual(size);
          if (sum === size) cover();
          expect(await subject.free()).toBe(size - sum);
        }
      });
      expect(denied).toBeGreaterThan(completed);
    });

    it('go to the process that is notified, however long its request takes to arrive', async () => {
      const subject = new SlotSubject(make, { concurrency: 1 });
      await subject.take(99);
      for (const [id, waited] of [100, 98].entries()) await subject.take(id, { maxWait: 5000, waited });
      await subject.hold(99, 0);
      subject.advance(7);
      // It was sent 5 ms ago.
      expect((await subject.take(0, { maxWait: 5000, waited: 102 })).allowed).toBe(true);
    });

    it('go to the process that has waited longest', async () => {
      const values = fc.uniqueArray(fc.integer({ min: 0, max: 2000 }), { minLength: 2, maxLength: 5 });
      await checkProperty(runs, 1, values, async (ages, cover) => {
        const subject = new SlotSubject(make, { concurrency: 1 });
        await subject.take(99);
        for (const [id, waited] of ages.entries()) await subject.take(id, { maxWait: 5000, waited });
        await subject.hold(99, 0);
        const oldest = ages.indexOf(Math.max(...ages));
        for (const [id, waited] of ages.entries()) {
          if (id !== oldest) expect((await subject.take(id, { maxWait: 5000, waited })).allowed).toBe(false);
        }
        expect((await subject.take(99)).allowed).toBe(false);
        expect((await subject.take(oldest, { maxWait: 5000, waited: ages[oldest] })).allowed).toBe(true);
        cover();
      });
    });
  });
});
