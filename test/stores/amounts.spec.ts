import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { FakeClock } from 'nest-rate-limit/testing';
import { plainAnswer } from '../../src/core/answer.js';
import type { StoreAnswer } from '../../src/core/decision.js';
import { type LimitOptions, parsePolicy } from '../../src/core/policy.js';
import { mergeTakes, type StoreRequest, type Take } from '../../src/core/request.js';
import { checkProperty, pauses, smallLimits, storeKinds } from '../support/store-subject.js';

const { memory, redis } = storeKinds();

const limitSets = fc.array(smallLimits, { minLength: 2, maxLength: 3 });
const steps = fc.array(
  fc.record({
    verb: fc.oneof(
      { arbitrary: fc.constant('take' as const), weight: 6 },
      { arbitrary: fc.constantFrom('estimate' as const, 'charge' as const, 'put' as const), weight: 3 },
    ),
    pause: pauses,
    amounts: fc.array(fc.constantFrom(0, 0, 1000, 1000, 2000, 500), { minLength: 3, maxLength: 3 }),
    checks: fc.option(fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }), { nil: undefined }),
    maxWait: fc.oneof({ arbitrary: fc.constant(0), weight: 3 }, fc.constantFrom(30, Infinity)),
  }),
  { minLength: 10, maxLength: 25, size: 'max' },
);

function takeOf(options: LimitOptions, all: readonly number[], maxWait: number, checks?: readonly boolean[]): Take {
  const policy = parsePolicy(options, 'amounts');
  const amounts = all.slice(0, policy.limits.length);
  return { policy, key: 'key', amount: Math.max(...amounts), amounts, checks, maxWait };
}

describe('Takes with an amount for each limit', () => {
  it('get the same answers from both stores', () =>
    checkProperty(120, 0.3, fc.tuple(limitSets, steps), async ([limits, script], cover) => {
      const clock = new FakeClock();
      const stores = [memory, redis].map((kind) => kind.make(clock));
      for (const [index, { verb, pause, amounts, checks, maxWait }] of script.entries()) {
        clock.set(clock.now() + pause);
        const request: StoreRequest = { verb, takes: [takeOf({ limits }, amounts, maxWait, checks)] };
        const [one, other] = await Promise.all(stores.map(async (store) => plainAnswer(await store.run(request))));
        expect([index, other]).toEqual([index, one]);
        if (!one.allowed && new Set(amounts).size > 1) cover();
        if (verb === 'take' && one.delay > 0 && amounts[0] > 1000) {
          const cancel: StoreRequest = { verb: 'cancel', takes: request.takes, actAt: one.actAt };
          const ends = await Promise.all(stores.map(async (store) => plainAnswer(await store.run(cancel))));
          expect([index, ends[1]]).toEqual([index, ends[0]]);
        }
      }
    }));

  it.each([memory, redis])('take from each limit what a policy of that limit alone would take: $name', (kind) =>
    checkProperty(kind.runs / 4, 0.3, fc.tuple(limitSets, steps), async ([limits, script], cover) => {
      const clock = new FakeClock();
      const store = kind.make(clock);
      const alone = async (verb: StoreRequest['verb'], all: readonly number[]): Promise<StoreAnswer[]> =>
        Promise.all(
          limits.map((limit, i) => {
            const policy = parsePolicy({ ...limit, name: `alone-${i}` }, '');
            return store.run({ verb, takes: [{ policy, key: 'key', amount: all[i], maxWait: 0 }] });
          }),
        );
      for (const { verb, pause, amounts, checks } of script) {
        clock.set(clock.now() + pause);
        // Charges bring limits into debt.
        const charge = verb === 'charge';
        const answer = await store.run({
          verb: charge ? verb : 'take',
          takes: [takeOf({ limits }, amounts, 0, checks)],
        });
        const needed = amounts.map((amount, i) => (amount === 0 && checks?.[i] ? 1 : amount));
        const each = charge ? [] : await alone('estimate', needed);
        expect(answer.allowed).toBe(each.every(({ allowed }, i) => allowed || needed[i] === 0));
        if (answer.allowed) await alone('charge', amounts);
        else {
          cover();
          const waits = each.map(({ retryAfter }, i) => (needed[i] === 0 ? 0 : retryAfter));
          expect(answer.limits.map(({ retryAfter }) => retryAfter)).toEqual(waits);
        }
        const balances = (await alone('estimate', [0, 0, 0])).map(({ remaining }) => remaining);
        expect(answer.limits.map(({ remaining }) => remaining)).toEqual(balances);
      }
    }),
  );

  it('are merged limit by limit if they are from the same bucket', () => {
    const limits = [
      { capacity: 5, refill: 1 },
      { capacity: 9, refill: 1 },
    ];
    const one = takeOf({ limits }, [1000, 3000], 50);
    const other: Take = { ...one, amount: 2000, amounts: undefined, maxWait: 20 };
    expect(mergeTakes([one, other])).toEqual([{ ...one, amount: 5000, amounts: [3000, 5000], maxWait: 20 }]);
  });

  it('are merged with the checks of each', () => {
    const limits = [{ capacity: 5, refill: 1 }, { maxRequest: 5 }];
    const one = takeOf({ limits }, [1000, 0], 0, [false, true]);
    const other = takeOf({ limits }, [0, 0], 0);
    expect(mergeTakes([other, one])).toEqual([one]);
    expect(mergeTakes([other, other])).toEqual([other]);
  });

  it.each([memory, redis])('reserve nothing from a limit with an amount of 0: $name', async (kind) => {
    const clock = new FakeClock();
    const store = kind.make(clock);
    const limits = [
      { capacity: 1, refill: 1 },
      { capacity: 9, refill: 9 },
    ];
    const take = (all: number[], checks?: boolean[]) =>
      store.run({ verb: 'take', takes: [takeOf({ limits }, all, 5000, checks)] });
    await take([1000, 0]);
    const queued = await take([1000, 0], [false, true]);
    expect(queued.delay).toBe(1000);
    expect(queued.limits.map(({ remaining }) => remaining)).toEqual([0, 9]);
  });
});
