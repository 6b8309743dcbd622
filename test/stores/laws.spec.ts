import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { LimitNumbers } from '../../src/core/limit.js';
import type { LimitOptions } from '../../src/core/policy.js';
import {
  type Act,
  bucketLimits,
  costs,
  expectNeverMore,
  fractions,
  law,
  pauses,
  policies,
  storeKinds,
  subject,
  windowLimits,
} from '../support/laws.js';

const { memory, redis } = storeKinds();

const limitsOf = (options: LimitOptions) => options.limits as LimitNumbers[];
const script = <Step>(step: fc.Arbitrary<Step>, least = 5, most = 40) =>
  fc.array(step, { minLength: least, maxLength: most, size: 'max' });

describe.each([memory, redis])('the laws of every limit, in the $name', (kind) => {
  describe('1. never more than promised', () => {
    it('by who is admitted at once', () =>
      law(
        kind.runs,
        0.5,
        fc.tuple(
          policies,
          script(fc.record({ pause: pauses, n: fractions, verb: fc.constantFrom('take', 'takeUpTo') })),
        ),
        async ([options, steps], held) => {
          const bucket = subject(kind, options);
          const acts: Act[] = [];
          for (const { pause, n, verb } of steps) {
            await bucket.clock.advance(pause);
            const { allowed, taken } = await bucket.ask(verb as 'take', n);
            if (!allowed) held();
            if (taken > 0) acts.push({ at: bucket.clock.now(), n: taken });
          }
          expectNeverMore(limitsOf(options), acts);
        },
      ));

    it.each([
      ['by who waits in line', policies, false],
      ['by who waits in line, whoever gives up', policies, true],
    ] as const)('%s', (_, some, aborts) =>
      law(
        kind.runs,
        0.25,
        fc.tuple(
          some,
          script(
            fc.record({
              pause: pauses,
              n: fractions,
              maxWait: fc.constantFrom(0, 10, Infinity, Infinity),
              givesUpAfter: aborts ? fc.option(fc.integer({ min: 0, max: 60 })) : fc.constant(null),
            }),
          ),
        ),
        async ([options, steps], held) => {
          const bucket = subject(kind, options);
          const acts = new Set<Act>();
          let leaving: { at: number; act: Act }[] = [];
          const pass = async (to: number) => {
            leaving.sort((a, b) => a.at - b.at);
            for (const { at, act } of leaving.filter((one) => one.at <= to)) {
              bucket.clock.set(at);
              await bucket.ask('cancel', act.n, { actAt: [act.at] });
              acts.delete(act);
              held();
            }
            leaving = leaving.filter((one) => one.at > to);
            bucket.clock.set(to);
          };
          for (const { pause, n, maxWait, givesUpAfter } of steps) {
            await pass(bucket.clock.now() + pause);
            const { allowed, delay } = await bucket.take(n, maxWait);
            if (!allowed) continue;
            const now = bucket.clock.now();
            if (delay > 0 && !aborts) held();
            const act = { at: now + delay, n };
            acts.add(act);
            if (givesUpAfter !== null && givesUpAfter < delay) leaving.push({ at: now + givesUpAfter, act });
          }
          await pass(Infinity);
          expectNeverMore(limitsOf(options), [...acts], 1);
        },
      ),
    );
  });

  it('2. a refused request passes at retryAfter, and not one millisecond before', () =>
    law(
      kind.runs,
      0.4,
      fc.tuple(
        policies,
        fc.option(fc.integer({ min: 1, max: 50 }), { nil: undefined }),
        script(
          fc.record({ pause: pauses, n: fractions, verb: fc.constantFrom('take', 'take', 'charge', 'put', 'block') }),
        ),
        fractions,
      ),
      async ([options, block, steps, n], held) => {
        const bucket = subject(kind, { ...options, block });
        for (const { pause, n, verb } of steps) {
          await bucket.clock.advance(pause);
          await bucket.ask(verb as 'take', n, { duration: 7, maxWait: pause });
        }
        const estimate = await bucket.estimate(n);
        const refusal = await bucket.take(n);
        expect(refusal.allowed).toBe(estimate.allowed);
        expect(refusal.retryAfter).toBe(estimate.retryAfter);
        if (refusal.allowed || refusal.retryAfter === Infinity) return;
        held();
        expect(Number.isInteger(refusal.retryAfter)).toBe(true);
        const now = bucket.clock.now();
        bucket.clock.set(now + refusal.retryAfter - 1);
        const before = await bucket.estimate(n);
        expect(before.allowed).toBe(false);
        // The block of a policy starts with the next refusal.
        if (block === undefined) expect(before.retryAfter).toBe(1);
        bucket.clock.set(now + refusal.retryAfter);
        expect((await bucket.take(n)).allowed).toBe(true);
      },
    ));
});
void costs;
void bucketLimits;
void windowLimits;
