import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { FakeClock } from 'nest-rate-limit/testing';
import { parsePolicy } from '../../src/core/policy.js';
import {
  type Admission,
  checkProperty,
  expectWithinLimits,
  pauses,
  smallLimits,
  storeKinds,
} from '../support/store-subject.js';

const { memory, redis } = storeKinds();

const tokens = fc.constantFrom(0, 0.5, 1, 1, 2, 2.5);
const steps = fc.array(
  fc.record({
    pause: pauses,
    estimates: fc.array(tokens, { minLength: 3, maxLength: 3 }),
    real: fc.array(tokens, { minLength: 3, maxLength: 3 }),
    /** When the request ends, in ms after its admission. */
    lasts: fc.integer({ min: 0, max: 60 }),
  }),
  { minLength: 15, maxLength: 40, size: 'max' },
);

interface Open {
  readonly at: number;
  readonly until: number;
  readonly mark: number;
  readonly estimates: readonly number[];
  readonly real: readonly number[];
}

/** A difference in thousandths for each limit, as a take. */
function differences(from: readonly number[], to: readonly number[]) {
  const amounts = to.map((n, i) => Math.round(Math.max(0, n - from[i]) * 1000));
  return { amount: Math.max(...amounts), amounts };
}

describe.each([memory, redis])('Costs of each limit that are settled afterwards, in $name', (kind) => {
  it('never exceed a limit by more than the sum of its underestimates', () =>
    checkProperty(
      kind.runs / 2,
      0.5,
      fc.tuple(fc.array(smallLimits, { minLength: 2, maxLength: 3 }), steps),
      async ([limits, script], cover) => {
        const clock = new FakeClock();
        const store = kind.make(clock);
        const policy = parsePolicy({ name: 'costs', limits }, 'costs');
        const take = { policy, key: 'key', maxWait: 0 };
        const checks = limits.map(() => true);
        const admitted: Open[] = [];
        let open: Open[] = [];
        let mixed = 0;
        const settleUntil = async (now: number) => {
          for (const { until, mark, estimates, real } of open.filter(({ until }) => until <= now)) {
            clock.set(until);
            const deficit = differences(estimates, real);
            const excess = differences(real, estimates);
            if (deficit.amount > 0) await store.run({ verb: 'charge', takes: [{ ...take, ...deficit }] });
            if (excess.amount > 0) await store.run({ verb: 'put', takes: [{ ...take, ...excess, mark }] });
            if (deficit.amount > 0 && excess.amount > 0) mixed++;
          }
          open = open.filter(({ until }) => until > now);
          clock.set(now);
        };
        for (const [mark, step] of script.entries()) {
          await settleUntil(clock.now() + step.pause);
          const [estimates, real] = [step.estimates, step.real].map((list) => list.slice(0, limits.length));
          const taken = differences(
            estimates.map(() => 0),
            estimates,
          );
          const before = await store.run({ verb: 'estimate', takes: [{ ...take, amount: 0 }] });
          const { allowed } = await store.run({ verb: 'take', takes: [{ ...take, ...taken, checks, mark }] });
          if (before.limits.some(({ remaining }) => remaining === 0)) expect(allowed).toBe(false);
          if (!allowed) continue;
          const at = clock.now();
          const request = { at, until: at + step.lasts, mark, estimates, real };
          admitted.push(request);
          open = [...open, request].sort((a, b) => a.until - b.until);
        }
        await settleUntil(clock.now() + 60);
        for (const [i, limit] of limits.entries()) {
          const counted = admitted.map(
            ({ at, estimates, real }): Admission => ({ at, n: Math.min(estimates[i], real[i]) }),
          );
          expectWithinLimits([limit], counted);
        }
        if (mixed > 0 && admitted.length < script.length) cover();
      },
    ));
});
