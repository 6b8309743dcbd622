import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { LimitNumbers, NamedLimit } from '../../src/core/limit.js';
import { MAX_MARKS } from '../../src/core/marks.js';
import type { LimitOptions } from '../../src/core/policy.js';
import {
  type Admission,
  checkProperty,
  expectWithinLimits,
  fractions,
  pauses,
  periodNumber,
  policies,
  storeKinds,
  subject,
} from '../support/store-subject.js';

const { memory, redis } = storeKinds();

/** An admitted take: the amount taken, and the amount that counts now (the real cost, once known). */
interface Admitted {
  readonly at: number;
  readonly mark: number;
  readonly taken: number;
  counted: number;
}

/** Balances in tokens recomputed from costs alone. Deliberately independent of the library's arithmetic. */
function balances(
  options: LimitOptions,
  admissions: readonly { at: number; counted: number }[],
  now: number,
): number[] {
  return (options.limits as LimitNumbers[]).map((limit) => {
    const { capacity, maxRequest = 0, duration: period = 1, calendar } = limit;
    if (calendar) {
      const isNow = ({ at }: { at: number }) => periodNumber(calendar, at) === periodNumber(calendar, now);
      return (capacity ?? 0) - admissions.filter(isNow).reduce((sum, { counted }) => sum + counted, 0);
    }
    if (capacity === undefined) {
      return maxRequest - admissions.reduce((sum, { at, counted }) => sum + (at > now - period ? counted : 0), 0);
    }
    let debt = 0;
    let last = 0;
    for (const { at, counted } of admissions) {
      debt = Math.max(0, debt - gained(limit, last, at)) + counted;
      last = at;
    }
    return capacity - Math.max(0, debt - gained(limit, last, now));
  });
}

/** One step of refill, a millisecond or a period, adds no more than the capacity. */
function gained(
  { capacity = 0, refill = 0, duration: period = 1, refillMode }: LimitNumbers,
  from: number,
  to: number,
) {
  if (refillMode !== 'intervally') return (to - from) * Math.min(refill / period, capacity);
  return (Math.floor(to / period) - Math.floor(from / period)) * Math.min(refill, capacity);
}

/** Limits that admit more takes than a bucket keeps marks for. */
const generous: fc.Arbitrary<LimitOptions> = fc
  .record({
    capacity: fc.integer({ min: 50, max: 120 }),
    refill: fc.constantFrom(0.3, 1, 5),
    maxRequest: fc.integer({ min: 50, max: 120 }),
    duration: fc.constantFrom(40, 300, 2000),
    kind: fc.constantFrom('bucket', 'window', 'both'),
  })
  .map(({ capacity, refill, maxRequest, duration, kind }) => {
    const unit = 'milliseconds';
    const limits: NamedLimit[] = [];
    if (kind !== 'window') limits.push({ capacity, refill, duration, unit });
    if (kind !== 'bucket') limits.push({ maxRequest, duration, unit });
    return { name: 'property', limits };
  });

const steps = (minLength: number, maxLength: number, settleWeight: number) =>
  fc.array(
    fc.record({
      pause: fc.oneof({ arbitrary: fc.integer({ min: 0, max: 4 }), weight: 6 }, { arbitrary: pauses, weight: 1 }),
      cost: fractions,
      /** What it really cost, relative to the take. */
      real: fc.constantFrom(0, 0, 0.4, 1, 1.5),
      settles: fc.oneof(
        { arbitrary: fc.constant(undefined), weight: 3 },
        { arbitrary: fc.nat(30), weight: settleWeight },
      ),
      retries: fc.boolean(),
    }),
    { minLength, maxLength, size: 'max' },
  );

describe.each([memory, redis])('balances after settlement in $name', (kind) => {
  const history = async (
    options: LimitOptions,
    script: { pause: number; cost: number; real: number; settles: number | undefined; retries: boolean }[],
    check: (found: number, expected: number, open: number) => void,
  ) => {
    const bucket = subject(kind, options);
    const admissions: (Admitted | { readonly at: number; counted: number })[] = [];
    const open: Admitted[] = [];
    let mostOpen = 0;
    const compare = async () => {
      const now = bucket.clock.now();
      const { limits } = await bucket.run('estimate');
      balances(options, admissions, now).forEach((expected, i) => {
        check(limits[i].remaining, Math.max(0, expected), mostOpen);
      });
    };
    for (const [mark, { pause, cost, real, settles, retries }] of script.entries()) {
      bucket.advance(pause);
      const now = bucket.clock.now();
      const take = (n: number, id: number) => [
        { policy: bucket.policy, key: bucket.key, amount: Math.round(n * 1000), maxWait: 0, mark: id },
      ];
      const settled = settles === undefined ? undefined : open.splice(settles % (open.length || 1), 1)[0];
      if (settled) {
        const cost = Math.round(settled.taken * real * 1000) / 1000;
        if (cost < settled.taken) {
          const refund = { verb: 'put', takes: take(settled.taken - cost, settled.mark) } as const;
          await bucket.store.run(refund);
          if (retries) await bucket.store.run(refund);
          settled.counted = cost;
        } else {
          await bucket.store.run({ verb: 'charge', takes: take(cost - settled.taken, settled.mark) });
          admissions.push({ at: now, counted: cost - settled.taken });
        }
      } else if ((await bucket.store.run({ verb: 'take', takes: take(cost, mark) })).allowed) {
        const admitted = { at: now, mark, taken: cost, counted: cost };
        admissions.push(admitted);
        open.push(admitted);
        mostOpen = Math.max(mostOpen, open.length);
      }
      await compare();
    }
    const takes = admissions.filter((one): one is Admitted => 'taken' in one);
    expectWithinLimits(
      options.limits as LimitNumbers[],
      takes.map(({ at, counted }) => ({ at, n: counted })),
    );
    return { mostOpen, settled: takes.some(({ taken, counted }) => counted < taken) };
  };

  it('equal a recomputation from real costs, with up to 32 unsettled takes', () =>
    checkProperty(
      kind.runs / 2,
      0.6,
      fc.tuple(fc.oneof(policies, generous), steps(20, 140, 2)),
      async ([options, script], cover) => {
        const { mostOpen, settled } = await history(options, script, (found, expected, open) => {
          if (open <= MAX_MARKS) expect(found).toBeCloseTo(expected, 5);
        });
        if (settled && mostOpen <= MAX_MARKS) cover();
      },
    ));

  it('never exceed a recomputation from real costs, with any number of unsettled takes', () =>
    checkProperty(kind.runs / 6, 0.5, fc.tuple(generous, steps(120, 160, 1)), async ([options, script], cover) => {
      const { mostOpen } = await history(options, script, (found, expected) =>
        expect(found).toBeLessThanOrEqual(expected + 1e-6),
      );
      if (mostOpen > MAX_MARKS) cover();
    }));

  it('never admit more than the limits allow if queued requests leave, or are settled after they proceed', () =>
    checkProperty(
      kind.runs,
      0.3,
      fc.tuple(
        policies,
        fc.array(
          fc.record({
            pause: pauses,
            cost: fractions,
            maxWait: fc.constantFrom(0, 10, Infinity),
            settles: fc.option(fc.integer({ min: 0, max: 40 })),
            leavesAfter: fc.option(fc.integer({ min: 0, max: 40 })),
          }),
          { minLength: 10, maxLength: 40, size: 'max' },
        ),
      ),
      async ([options, script], cover) => {
        const bucket = subject(kind, options);
        const admissions = new Set<Admission>();
        let settlements: { at: number; admission: Admission; mark: number; actAt?: readonly number[] }[] = [];
        const run = (
          verb: 'take' | 'put' | 'cancel',
          n: number,
          mark: number,
          maxWait = 0,
          actAt?: readonly number[],
        ) =>
          bucket.store.run({
            verb,
            actAt,
            takes: [{ policy: bucket.policy, key: bucket.key, amount: Math.round(n * 1000), maxWait, mark }],
          });
        const advanceTo = async (to: number) => {
          settlements.sort((a, b) => a.at - b.at);
          for (const { at, admission, mark, actAt } of settlements.filter((settlement) => settlement.at <= to)) {
            bucket.clock.set(at);
            await run(actAt ? 'cancel' : 'put', admission.n, mark, 0, actAt);
            admissions.delete(admission);
          }
          settlements = settlements.filter((settlement) => settlement.at > to);
          bucket.clock.set(to);
        };
        for (const [mark, { pause, cost, maxWait, settles, leavesAfter }] of script.entries()) {
          await advanceTo(bucket.clock.now() + pause);
          const { allowed, delay, actAt } = await run('take', cost, mark, maxWait);
          if (!allowed) continue;
          const admission = { at: bucket.clock.now() + delay, n: cost };
          admissions.add(admission);
          if (leavesAfter !== null && leavesAfter < delay) {
            settlements.push({ at: bucket.clock.now() + leavesAfter, admission, mark, actAt });
          } else if (settles !== null) settlements.push({ at: admission.at + settles, admission, mark });
          if (settles !== null && delay > 0) cover();
        }
        await advanceTo(bucket.clock.now() + 1000);
        expectWithinLimits(options.limits as LimitNumbers[], [...admissions], 1);
      },
    ));
});
