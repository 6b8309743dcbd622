import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { amountOf, chargedAmount, refundedAmount, toCostAmount } from '../../src/core/amount.js';

const tokens = fc.oneof(
  fc.double({ min: 0, max: 1000, noNaN: true }),
  fc.double({ min: 0, max: 9e12, noNaN: true }),
  fc.double({ min: 0, max: 0.01, noNaN: true }),
);

describe('Amounts of computed tokens', () => {
  it('are the next thousandth: of a cost above, of a refund below', () => {
    fc.assert(
      fc.property(tokens, (n) => {
        const [cost, refund] = [chargedAmount(n), refundedAmount(n)];
        const error = 1e-9 * n * 1000;
        expect(Number.isSafeInteger(cost) && Number.isSafeInteger(refund)).toBe(true);
        expect(cost - refund === 0 || cost - refund === 1).toBe(true);
        expect(cost).toBeGreaterThanOrEqual(n * 1000 - error);
        expect(cost).toBeLessThanOrEqual(n * 1000 + 1 + error);
        expect(refund).toBeLessThanOrEqual(n * 1000 + error);
        expect(refund).toBeGreaterThanOrEqual(n * 1000 - 1 - error);
        expect(toCostAmount(n)).toBe(cost);
      }),
    );
  });

  it('are exact for thousandths, and for what arithmetic makes of them', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 200 }), (amounts) => {
        let sum = 0;
        for (const amount of amounts) sum += amount / 1000;
        const exact = amounts.reduce((a, b) => a + b, 0);
        expect([chargedAmount(sum), refundedAmount(sum)]).toEqual([exact, exact]);
        const [first] = amounts;
        expect([amountOf(first / 1000), chargedAmount((first / 7000) * 7)]).toEqual([first, first]);
      }),
    );
  });

  it.each([
    [0, 0, 0],
    [Number.MIN_VALUE, 1, 0],
    [0.00012, 1, 0],
    [0.0009999999999, 1, 1],
    [0.000999, 1, 0],
    [1 / 3, 334, 333],
    [0.1 + 0.2, 300, 300],
    [100.3 - 37.2, 63_100, 63_100],
    [1000.1 - 999.9, 200, 200],
    [1.0000000000000002, 1000, 1000],
    [9_007_199_254_740.99, 9_007_199_254_740_990, 9_007_199_254_740_990],
  ])('of %p are %p for a cost and %p for a refund', (n, cost, refund) => {
    expect([chargedAmount(n), refundedAmount(n)]).toEqual([cost, refund]);
  });

  it.each([-1, -Number.MIN_VALUE, Number.NaN, Infinity, 9_007_199_254_741, '1', null, undefined, {}, 1n, Symbol('s')])(
    'do not exist for %p',
    (n) => {
      expect(toCostAmount(n)).toBeUndefined();
      expect(() => chargedAmount(n)).toThrow(RangeError);
      expect(() => refundedAmount(n)).toThrow(RangeError);
    },
  );
});
