import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { LimitNumbers } from '../../src/core/limit.js';
import type { LimitOptions } from '../../src/core/policy.js';
import {
  type Act,
  expectNeverMore,
  fractions,
  largeWindowLimits,
  law,
  pauses,
  policies,
  Subject,
  storeKinds,
  subject,
} from '../support/store-subject.js';

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
            bucket.pass(pause);
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
        0.15,
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
      0.2,
      fc.tuple(
        policies,
        fc.option(fc.integer({ min: 1, max: 50 }), { nil: undefined }),
        script(
          fc.record({ pause: pauses, n: fractions, verb: fc.constantFrom('take', 'take', 'charge', 'put', 'block') }),
        ),
        fractions,
        largeWindowLimits,
      ),
      async ([options, block, steps, n], held) => {
        const bucket = subject(kind, { ...options, block });
        for (const { pause, n, verb } of steps) {
          bucket.pass(pause);
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

  it('3. a refusal changes nothing', () =>
    law(
      kind.runs / 3,
      0.5,
      fc.tuple(policies, script(fc.record({ pause: pauses, n: fractions, maxWait: fc.constantFrom(0, 0, 9) }))),
      async ([options, steps], held) => {
        const bucket = subject(kind, options);
        const other = new Subject(bucket.store, bucket.clock, bucket.policy, 'without refusals');
        for (const { pause, n, maxWait } of steps) {
          bucket.pass(pause);
          const expected = await other.estimate(n);
          if (!expected.allowed) {
            held();
            const stored = await kind.stored?.(bucket);
            expect(await bucket.take(n)).toEqual(expected);
            expect((await bucket.take(n, expected.retryAfter - 1)).allowed).toBe(false);
            expect((await bucket.take(1e6, Infinity)).retryAfter).toBe(Infinity);
            expect(await kind.stored?.(bucket)).toEqual(stored);
          }
          expect(await bucket.take(n, maxWait)).toEqual(
            maxWait > 0 || expected.allowed ? await other.take(n, maxWait) : expected,
          );
          expect((await bucket.ask('estimate')).balance).toBe((await other.ask('estimate')).balance);
        }
      },
    ));

  it('4. after resetAfter a bucket is as good as new, and not before', () =>
    law(
      kind.runs / 3,
      0.4,
      fc.tuple(
        policies,
        script(
          fc.record({ pause: pauses, n: fractions, verb: fc.constantFrom('take', 'take', 'charge', 'put', 'block') }),
        ),
        script(fc.record({ pause: pauses, n: fractions })),
      ),
      async ([options, steps, later], held) => {
        const bucket = subject(kind, options);
        for (const { pause, n, verb } of steps) {
          bucket.pass(pause);
          await bucket.ask(verb as 'take', n, { duration: 7, maxWait: pause });
        }
        const { resetAfter } = await bucket.ask('estimate');
        if (resetAfter > 0) held();
        const full = Math.min(...bucket.policy.limits.map(({ size }) => size));
        const end = bucket.clock.now() + resetAfter;
        if (resetAfter > 0) {
          bucket.clock.set(end - 1);
          const { limits } = await bucket.ask('estimate');
          expect(limits.some(({ remaining, limit }) => remaining < limit)).toBe(true);
        }
        bucket.clock.set(end);
        expect((await bucket.ask('estimate')).balance).toBe(full);
        const fresh = new Subject(bucket.store, bucket.clock, bucket.policy, 'new');
        for (const { pause, n } of later) {
          expect(await bucket.take(n)).toEqual(await fresh.take(n));
          bucket.pass(pause);
        }
      },
    ));

  it('6. what no limit can ever hold is refused for ever, and takes nothing', () =>
    law(
      kind.runs / 3,
      0.9,
      fc.tuple(policies, script(fc.record({ pause: pauses, n: fractions })), fc.integer({ min: 1, max: 9 })),
      async ([options, steps, more], held) => {
        const bucket = subject(kind, options);
        const least = Math.min(...bucket.policy.limits.map(({ size }) => size));
        for (const { pause, n } of steps) {
          bucket.pass(pause);
          await bucket.take(n);
          const before = await bucket.ask('estimate');
          const refusal = await bucket.take(least + more / 1000, more > 5 ? Infinity : 0);
          expect(refusal).toMatchObject({ allowed: false, retryAfter: Infinity, delay: 0, taken: 0 });
          expect(await bucket.ask('estimate')).toEqual(before);
          held();
        }
      },
    ));

  describe('7. clocks may step', () => {
    const steps = script(
      fc.record({ pause: pauses, back: fc.option(fc.integer({ min: 1, max: 5000 }), { freq: 12 }), n: fractions }),
      20,
    );

    it('and each step lets at most one extra capacity pass, in true time', () =>
      law(kind.runs, 0.5, fc.tuple(policies, steps), async ([options, steps], held) => {
        const bucket = subject(kind, options);
        const acts: Act[] = [];
        let time = bucket.clock.now();
        let stepsBack = 0;
        for (const { pause, back, n } of steps) {
          bucket.pass(pause);
          time += pause;
          if (back !== null) {
            bucket.clock.set(bucket.clock.now() - back);
            stepsBack++;
          }
          if ((await bucket.take(n)).allowed) acts.push({ at: time, n });
        }
        if (stepsBack > 0 && acts.length < steps.length) held();
        // Boundaries are those of the clock: true time may see one more in each stretch between steps.
        for (const limit of limitsOf(options)) {
          const aligned = limit.refillMode === 'intervally' ? { ...limit, refillMode: 'greedy' as const } : limit;
          const slack = limit.refillMode === 'intervally' ? (limit.duration as number) * (1 + stepsBack) : 0;
          expectNeverMore([aligned], acts, slack, stepsBack);
        }
      }));

    it('and none locks a key for longer than it takes to fill, and then what is asked for', () =>
      law(
        kind.runs,
        0.4,
        fc.tuple(policies, steps, fc.integer({ min: 1, max: 50 })),
        async ([options, steps, back], held) => {
          const bucket = subject(kind, options);
          for (const { pause, n } of steps) {
            bucket.pass(pause);
            await bucket.take(n);
          }
          bucket.clock.set(bucket.clock.now() - back);
          const n = Math.min(...bucket.policy.limits.map(({ size }) => size));
          const before = await bucket.ask('estimate');
          const { allowed, retryAfter } = await bucket.take(n);
          if (allowed) return;
          held();
          expect(retryAfter).toBeLessThanOrEqual(bucket.policy.fillTime * 2);
          expect(before.resetAfter).toBeLessThanOrEqual(bucket.policy.fillTime * 2);
          bucket.clock.set(bucket.clock.now() + retryAfter);
          expect((await bucket.take(n)).allowed).toBe(true);
        },
      ));
  });

  it('8. a window above 128 refuses at most one slot longer than the exact one, and its state stays bounded', () =>
    law(
      Math.ceil(kind.runs / 10),
      0.5,
      fc.tuple(
        largeWindowLimits,
        script(fc.record({ pause: fc.integer({ min: 0, max: 25 }), n: fc.integer({ min: 1, max: 20 }) }), 80, 200),
      ),
      async ([limit, steps], held) => {
        const bucket = subject(kind, { name: 'law', ...limit });
        const { maxRequest = 0, duration = 0 } = limit;
        const slot = Math.max(1, Math.floor(duration / 128));
        const acts: Act[] = [];
        for (const { pause, n } of steps) {
          bucket.pass(pause);
          const now = bucket.clock.now();
          const { allowed, retryAfter } = await bucket.take(n);
          if (allowed) acts.push({ at: now, n });
          else {
            held();
            const exact = exactWait(acts, maxRequest, duration, now, n);
            expect(retryAfter).toBeGreaterThanOrEqual(exact);
            expect(retryAfter).toBeLessThanOrEqual(exact + slot);
          }
        }
        expectNeverMore([limit], acts);
        const stored = await kind.stored?.(bucket);
        // At most 130 slots and some, of two numbers of at most nine bytes each.
        if (stored !== undefined) expect(stored.length).toBeLessThan(150 * 18);
      },
    ));

  it('nobody overtakes who waits in line, if nobody gives up', () =>
    law(
      kind.runs,
      0.3,
      fc.tuple(
        policies,
        script(fc.record({ pause: pauses, n: fractions, maxWait: fc.constantFrom(0, 15, Infinity, Infinity) })),
      ),
      async ([options, steps], held) => {
        const bucket = subject(kind, options);
        let last = 0;
        for (const { pause, n, maxWait } of steps) {
          bucket.pass(pause);
          const now = bucket.clock.now();
          const { allowed, delay } = await bucket.take(n, maxWait);
          if (last > now) held();
          if (!allowed) continue;
          expect(now + delay).toBeGreaterThanOrEqual(last);
          last = now + delay;
        }
      },
    ));
});

/** How long a window that knows each admission to the millisecond would refuse. */
function exactWait(acts: readonly Act[], most: number, duration: number, now: number, n: number): number {
  const sumAt = (time: number) => acts.reduce((sum, act) => (act.at > time - duration ? sum + act.n : sum), 0);
  const instants = [now, ...acts.map(({ at }) => at + duration)].filter((time) => time >= now).sort((a, b) => a - b);
  return (instants.find((time) => sumAt(time) + n <= most) as number) - now;
}
