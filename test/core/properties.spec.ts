import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { MemoryStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { type LimitOptions, parsePolicy } from '../../src/core/policy.js';
import { ExactBucket } from '../support/exact-bucket.js';
import { checkProperty, Subject } from '../support/store-subject.js';

const sizes = fc.oneof(
  fc.integer({ min: 1, max: 5000 }),
  fc.integer({ min: 1, max: 10 ** 9 }),
  fc.integer({ min: 1, max: 4 * 10 ** 12 }),
);

describe('Arithmetic of a greedy bucket', () => {
  it('is exact for numbers of any size', () =>
    checkProperty(
      2000,
      0.3,
      fc.tuple(
        fc.record({
          capacity: sizes,
          refill: sizes,
          period: fc.oneof(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 315_360_000_000 })),
        }),
        fc.array(
          fc.record({
            pause: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 10 ** 10 })),
            share: fc.double({ min: 0.01, max: 1.1, noNaN: true }),
          }),
          { minLength: 5, maxLength: 20, size: 'max' },
        ),
      ),
      async ([{ capacity, refill, period }, steps], cover) => {
        const options: LimitOptions = {
          capacity: capacity / 1000,
          refill: refill / 1000,
          duration: period,
          unit: 'milliseconds',
        };
        let policy: ReturnType<typeof parsePolicy>;
        try {
          policy = parsePolicy(options, 'exact');
        } catch (error) {
          expect((error as Error).message).toMatch(/so that it can be counted exactly/);
          return;
        }
        const clock = new FakeClock();
        const store = new MemoryStore({ clock });
        store.close();
        const bucket = new Subject(store, clock, policy);
        const exact = new ExactBucket(BigInt(capacity), BigInt(refill), BigInt(period), clock.now());
        for (const { pause, share } of steps) {
          bucket.advance(pause);
          const cost = Math.max(1, Math.floor(capacity * share));
          const { allowed, retryAfter } = await bucket.take(cost / 1000);
          const wait = exact.take(BigInt(cost), clock.now());
          expect({ allowed, retryAfter }).toEqual({ allowed: wait === 0, retryAfter: wait });
          if (!allowed && wait !== Infinity) cover();
        }
      },
    ));
});
