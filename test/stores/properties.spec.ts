import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { LimitNumbers } from '../../src/core/limit.js';
import type { LimitOptions } from '../../src/core/policy.js';
import {
  type Admission,
  checkProperty,
  expectWithinLimits,
  fractions,
  largeWindowLimits,
  pauses,
  policies,
  Subject,
  storeKinds,
  subject,
} from '../support/store-subject.js';

const { memory, redis } = storeKinds();

const limitsOf = (options: LimitOptions) => options.limits as LimitNumbers[];
const script = <Step>(step: fc.Arbitrary<Step>, minLength = 5, maxLength = 40) =>
  fc.array(step, { minLength, maxLength, size: 'max' });

describe.each([memory, redis])('properties of every store: $name', (kind) => {
  describe('upper bound', () => {
    it('admits no more than the limits allow', () =>
      checkProperty(
        kind.runs,
        0.5,
        fc.tuple(
          policies,
          script(fc.record({ pause: pauses, n: fractions, verb: fc.constantFrom('take', 'takeUpTo') })),
        ),
        async ([options, steps], cover) => {
          const bucket = subject(kind, options);
          const admissions: Admission[] = [];
          for (const { pause, n, verb } of steps) {
            bucket.advance(pause);
            const { allowed, taken } = await bucket.run(verb as 'take', n);
            if (!allowed) cover();
            if (taken > 0) admissions.push({ at: bucket.clock.now(), n: taken });
          }
          expectWithinLimits(limitsOf(options), admissions);
        },
      ));

    it.each([
      ['queues no more than the limits allow', policies, false],
      ['queues no more than the limits allow if reservations are canceled', policies, true],
    ] as const)('%s', (_, arbitrary, cancels) =>
      checkProperty(
        kind.runs,
        0.15,
        fc.tuple(
          arbitrary,
          script(
            fc.record({
              pause: pauses,
              n: fractions,
              maxWait: fc.constantFrom(0, 10, Infinity, Infinity),
              cancelAfter: cancels ? fc.option(fc.integer({ min: 0, max: 60 })) : fc.constant(null),
            }),
          ),
        ),
        async ([options, steps], cover) => {
          const bucket = subject(kind, options);
          const admissions = new Set<Admission>();
          let cancellations: { at: number; admission: Admission }[] = [];
          const advanceTo = async (to: number) => {
            cancellations.sort((a, b) => a.at - b.at);
            for (const { at, admission } of cancellations.filter((cancellation) => cancellation.at <= to)) {
              bucket.clock.set(at);
              await bucket.run('cancel', admission.n, { actAt: [admission.at] });
              admissions.delete(admission);
              cover();
            }
            cancellations = cancellations.filter((cancellation) => cancellation.at > to);
            bucket.clock.set(to);
          };
          for (const { pause, n, maxWait, cancelAfter } of steps) {
            await advanceTo(bucket.clock.now() + pause);
            const { allowed, delay } = await bucket.take(n, maxWait);
            if (!allowed) continue;
            const now = bucket.clock.now();
            if (delay > 0 && !cancels) cover();
            const admission = { at: now + delay, n };
            admissions.add(admission);
            if (cancelAfter !== null && cancelAfter < delay) cancellations.push({ at: now + cancelAfter, admission });
          }
          await advanceTo(Infinity);
          expectWithinLimits(limitsOf(options), [...admissions], 1);
        },
      ),
    );
  });

  it('admits a denied request at retryAfter, and not one millisecond earlier', () =>
    checkProperty(
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
      async ([options, block, steps, n], cover) => {
        const bucket = subject(kind, { ...options, block });
        for (const { pause, n, verb } of steps) {
          bucket.advance(pause);
          await bucket.run(verb as 'take', n, { duration: 7, maxWait: pause });
        }
        const estimate = await bucket.estimate(n);
        const denial = await bucket.take(n);
        expect(denial.allowed).toBe(estimate.allowed);
        expect(denial.retryAfter).toBe(estimate.retryAfter);
        if (denial.allowed || denial.retryAfter === Infinity) return;
        cover();
        expect(Number.isInteger(denial.retryAfter)).toBe(true);
        const now = bucket.clock.now();
        bucket.clock.set(now + denial.retryAfter - 1);
        const before = await bucket.estimate(n);
        expect(before.allowed).toBe(false);
        // With a blocking policy, the next denial would start the block.
        if (block === undefined) expect(before.retryAfter).toBe(1);
        bucket.clock.set(now + denial.retryAfter);
        expect((await bucket.take(n)).allowed).toBe(true);
      },
    ));

  it('changes nothing on a denial', () =>
    checkProperty(
      kind.runs / 3,
      0.5,
      fc.tuple(policies, script(fc.record({ pause: pauses, n: fractions, maxWait: fc.constantFrom(0, 0, 9) }))),
      async ([options, steps], cover) => {
        const bucket = subject(kind, options);
        const other = new Subject(bucket.store, bucket.clock, bucket.policy, 'without denials');
        for (const { pause, n, maxWait } of steps) {
          bucket.advance(pause);
          const expected = await other.estimate(n);
          if (!expected.allowed) {
            cover();
            const stored = await kind.stored?.(bucket);
            expect(await bucket.take(n)).toEqual(expected);
            expect((await bucket.take(n, expected.retryAfter - 1)).allowed).toBe(false);
            expect((await bucket.take(1e6, Infinity)).retryAfter).toBe(Infinity);
            expect(await kind.stored?.(bucket)).toEqual(stored);
          }
          expect(await bucket.take(n, maxWait)).toEqual(
            maxWait > 0 || expected.allowed ? await other.take(n, maxWait) : expected,
          );
          expect((await bucket.run('estimate')).balance).toBe((await other.run('estimate')).balance);
        }
      },
    ));

  it('fills and unblocks a bucket at resetAfter, and not earlier', () =>
    checkProperty(
      kind.runs / 3,
      0.4,
      fc.tuple(
        policies,
        script(
          fc.record({ pause: pauses, n: fractions, verb: fc.constantFrom('take', 'take', 'charge', 'put', 'block') }),
        ),
        script(fc.record({ pause: pauses, n: fractions })),
      ),
      async ([options, steps, later], cover) => {
        const bucket = subject(kind, options);
        for (const { pause, n, verb } of steps) {
          bucket.advance(pause);
          await bucket.run(verb as 'take', n, { duration: 7, maxWait: pause });
        }
        const { resetAfter } = await bucket.run('estimate');
        if (resetAfter > 0) cover();
        const full = Math.min(...bucket.policy.limits.map(({ size }) => size));
        const end = bucket.clock.now() + resetAfter;
        if (resetAfter > 0) {
          bucket.clock.set(end - 1);
          const { limits } = await bucket.run('estimate');
          expect(limits.some(({ remaining, limit }) => remaining < limit)).toBe(true);
        }
        bucket.clock.set(end);
        expect((await bucket.run('estimate')).balance).toBe(full);
        const fresh = new Subject(bucket.store, bucket.clock, bucket.policy, 'new');
        for (const { pause, n } of later) {
          expect(await bucket.take(n)).toEqual(await fresh.take(n));
          bucket.advance(pause);
        }
      },
    ));

  it('denies a cost above the capacity forever, and takes nothing', () =>
    checkProperty(
      kind.runs / 3,
      0.9,
      fc.tuple(policies, script(fc.record({ pause: pauses, n: fractions })), fc.integer({ min: 1, max: 9 })),
      async ([options, steps, more], cover) => {
        const bucket = subject(kind, options);
        const capacity = Math.min(...bucket.policy.limits.map(({ size }) => size));
        for (const { pause, n } of steps) {
          bucket.advance(pause);
          await bucket.take(n);
          const before = await bucket.run('estimate');
          const denial = await bucket.take(capacity + more / 1000, more > 5 ? Infinity : 0);
          expect(denial).toMatchObject({ allowed: false, retryAfter: Infinity, delay: 0, taken: 0 });
          expect(await bucket.run('estimate')).toEqual(before);
          cover();
        }
      },
    ));

  describe('clock steps', () => {
    const steps = script(
      fc.record({ pause: pauses, back: fc.option(fc.integer({ min: 1, max: 5000 }), { freq: 12 }), n: fractions }),
      20,
    );

    it('admits at most one additional capacity per step back, measured in true time', () =>
      checkProperty(kind.runs, 0.5, fc.tuple(policies, steps), async ([options, steps], cover) => {
        const bucket = subject(kind, options);
        const admissions: Admission[] = [];
        let time = bucket.clock.now();
        let stepsBack = 0;
        for (const { pause, back, n } of steps) {
          bucket.advance(pause);
          time += pause;
          if (back !== null) {
            bucket.clock.set(bucket.clock.now() - back);
            stepsBack++;
          }
          if ((await bucket.take(n)).allowed) admissions.push({ at: time, n });
        }
        if (stepsBack > 0 && admissions.length < steps.length) cover();
        // Refill boundaries follow the clock: between two steps, true time may contain one more of them.
        for (const limit of limitsOf(options)) {
          const aligned = limit.refillMode === 'intervally' ? { ...limit, refillMode: 'greedy' as const } : limit;
          const slack = limit.refillMode === 'intervally' ? (limit.duration as number) * (1 + stepsBack) : 0;
          expectWithinLimits([aligned], admissions, slack, stepsBack);
        }
      }));

    it('denies for at most twice the fill time after a step back', () =>
      checkProperty(
        kind.runs,
        0.4,
        fc.tuple(policies, steps, fc.integer({ min: 1, max: 50 })),
        async ([options, steps, back], cover) => {
          const bucket = subject(kind, options);
          for (const { pause, n } of steps) {
            bucket.advance(pause);
            await bucket.take(n);
          }
          bucket.clock.set(bucket.clock.now() - back);
          const n = Math.min(...bucket.policy.limits.map(({ size }) => size));
          const before = await bucket.run('estimate');
          const { allowed, retryAfter } = await bucket.take(n);
          if (allowed) return;
          cover();
          expect(retryAfter).toBeLessThanOrEqual(bucket.policy.fillTime * 2);
          expect(before.resetAfter).toBeLessThanOrEqual(bucket.policy.fillTime * 2);
          bucket.clock.set(bucket.clock.now() + retryAfter);
          expect((await bucket.take(n)).allowed).toBe(true);
        },
      ));
  });

  it('denies at most one slot longer than an exact window above 128 requests, with bounded state', () =>
    checkProperty(
      Math.ceil(kind.runs / 10),
      0.5,
      fc.tuple(
        largeWindowLimits,
        script(fc.record({ pause: fc.integer({ min: 0, max: 25 }), n: fc.integer({ min: 1, max: 20 }) }), 80, 200),
      ),
      async ([limit, steps], cover) => {
        const bucket = subject(kind, { name: 'property', ...limit });
        const { maxRequest = 0, duration = 0 } = limit;
        const slot = Math.max(1, Math.floor(duration / 128));
        const admissions: Admission[] = [];
        for (const { pause, n } of steps) {
          bucket.advance(pause);
          const now = bucket.clock.now();
          const { allowed, retryAfter } = await bucket.take(n);
          if (allowed) admissions.push({ at: now, n });
          else {
            cover();
            const exact = exactWait(admissions, maxRequest, duration, now, n);
            expect(retryAfter).toBeGreaterThanOrEqual(exact);
            expect(retryAfter).toBeLessThanOrEqual(exact + slot);
          }
        }
        expectWithinLimits([limit], admissions);
        const stored = await kind.stored?.(bucket);
        // About 130 slots at most, each of two numbers of at most nine bytes.
        if (stored !== undefined) expect(stored.length).toBeLessThan(150 * 18);
      },
    ));

  it('admits queued requests in order if none is canceled', () =>
    checkProperty(
      kind.runs,
      0.3,
      fc.tuple(
        policies,
        script(fc.record({ pause: pauses, n: fractions, maxWait: fc.constantFrom(0, 15, Infinity, Infinity) })),
      ),
      async ([options, steps], cover) => {
        const bucket = subject(kind, options);
        let last = 0;
        for (const { pause, n, maxWait } of steps) {
          bucket.advance(pause);
          const now = bucket.clock.now();
          const { allowed, delay } = await bucket.take(n, maxWait);
          if (last > now) cover();
          if (!allowed) continue;
          expect(now + delay).toBeGreaterThanOrEqual(last);
          last = now + delay;
        }
      },
    ));
});

/** Returns how long a window that records every admission to the millisecond would deny. */
function exactWait(
  admissions: readonly Admission[],
  maxRequest: number,
  duration: number,
  now: number,
  n: number,
): number {
  const sumAt = (time: number) =>
    admissions.reduce((sum, admission) => (admission.at > time - duration ? sum + admission.n : sum), 0);
  const instants = [now, ...admissions.map(({ at }) => at + duration)]
    .filter((time) => time >= now)
    .sort((a, b) => a - b);
  return (instants.find((time) => sumAt(time) + n <= maxRequest) as number) - now;
}
