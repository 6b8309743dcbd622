import { describe, expect, it } from '@jest/globals';
import { RateLimitOptionError } from 'nest-rate-limit';
import { amountOf, toAmount } from '../../src/core/amount.js';
import { dividePolicy, type LimitOptions, parsePolicy } from '../../src/core/policy.js';
import { parseDuration } from '../../src/util/duration.js';

/** Parses any value, as an untyped caller could pass it. */
const parse = (options: unknown) => parsePolicy(options as LimitOptions, 'test');

describe('parsePolicy', () => {
  // A window of n requests per period: `w n/period`. A bucket of n tokens, refilled by r per period: `b n +r/period`,
  // with `@` if it is refilled at period boundaries only. Periods are in milliseconds.
  const describeLimits = (options: unknown) =>
    parse(options).limits.map(({ kind, size, period, capacity, refill, weight }) => {
      if (kind === 'window') return `w ${size}/${period}`;
      expect(capacity).toBe(size * 1000 * weight);
      return `b ${size} +${refill / weight / 1000}/${period === 1 ? '' : '@'}${period}`;
    });

  it.each([
    ['a window of a second', { maxRequest: 5 }, ['w 5/1000']],
    ['a window', { maxRequest: 2, duration: 10, unit: 'seconds' }, ['w 2/10000']],
    ['a window of half a minute', { maxRequest: 2, duration: 0.5, unit: 'minute' }, ['w 2/30000']],
    ['a bucket per second', { capacity: 20, refill: 10 }, ['b 20 +0.01/1']],
    ['a bucket per minute', { capacity: 20, refill: 30, duration: 1, unit: 'minutes' }, ['b 20 +0.0005/1']],
    ['a bucket of fractions', { capacity: 0.5, refill: 0.25 }, ['b 0.5 +0.00025/1']],
    ['a bucket of `maxRequest`', { maxRequest: 100, capacity: 20, duration: 100 }, ['b 20 +0.001/1']],
    [
      'a window and a bucket',
      { maxRequest: 100, capacity: 20, refill: 10, duration: 1, unit: 'hour' },
      ['w 100/3600000', `b 20 +${10 / 36e5}/1`],
    ],
    ['a bucket without refill', { capacity: 3, refill: 0 }, ['b 3 +0/1']],
    ['a fixed window', { capacity: 5, refill: 5, unit: 'days', refillMode: 'intervally' }, ['b 5 +5/@86400000']],
    ['more refill than capacity', { capacity: 5, refill: 9, refillMode: 'intervally' }, ['b 5 +5/@1000']],
    ['several limits', { limits: [{ maxRequest: 1 }, { capacity: 2, refill: 1 }] }, ['w 1/1000', 'b 2 +0.001/1']],
  ])('parses %s', (_, options, expected) => {
    expect(describeLimits(options)).toEqual(expected);
  });

  it.each([
    [{ capacity: 20, refill: 10, unit: 'minutes' }, 120_000],
    [{ capacity: 5, refill: 2, refillMode: 'intervally' }, 3000],
    [{ capacity: 1, refill: 3 }, 334],
    [{ maxRequest: 9, duration: 7 }, 7000],
    [{ capacity: 1, refill: 0 }, Infinity],
  ])('computes the fill time of %j: %p ms', (options, ms) => {
    expect(parse(options).fillTime).toBe(ms);
  });

  it('gives each of several limits a unique name', () => {
    const names = (options: unknown) => parse(options).labels;
    expect(names({ maxRequest: 1 })).toEqual(['test']);
    expect(names({ name: 'sms', maxRequest: 1, capacity: 1, refill: 1 })).toEqual(['sms/window', 'sms/bucket']);
    const limits = [{ maxRequest: 1 }, { maxRequest: 2 }, { maxRequest: 3, name: 'day' }, { capacity: 1, refill: 1 }];
    expect(names({ limits })).toEqual(['test/window', 'test/window-2', 'test/day', 'test/bucket']);
    const both = { maxRequest: 1, capacity: 1, refill: 1, name: 'x' };
    expect(names({ limits: [both, both] })).toEqual([
      'test/x-window',
      'test/x-bucket',
      'test/x-window-2',
      'test/x-bucket-2',
    ]);
  });

  it('derives an id that differs for other limits or another name', () => {
    const all = [
      { maxRequest: 5 },
      { maxRequest: 6 },
      { maxRequest: 5, duration: 2 },
      { capacity: 5, refill: 5 },
      { capacity: 5, refill: 6 },
      { capacity: 6, refill: 5 },
      { capacity: 5, refill: 5, duration: 3 },
      { capacity: 5, refill: 5, refillMode: 'intervally' },
      { capacity: 5, refill: 5, duration: 2, refillMode: 'intervally' },
      { maxRequest: 5, capacity: 5, refill: 5 },
      { limits: [{ capacity: 5, refill: 5 }, { maxRequest: 5 }] },
      { maxRequest: 5, name: 'other' },
      { maxRequest: 5, name: 'test:w5/1000+b5' },
    ];
    expect(new Set(all.map((options) => parse(options).id)).size).toBe(all.length);
    expect(parse({ capacity: 5, refill: 10, duration: 2 }).id).toBe(parse({ capacity: 5, refill: 5 }).id);
    expect(parse({ capacity: 5, refill: 5, block: '1h' }).id).toBe(parse({ capacity: 5, refill: 5 }).id);
  });

  it('freezes the policy', () => {
    const policy = parse({ limits: [{ maxRequest: 1 }] });
    for (const part of [policy, policy.limits, policy.limits[0], policy.labels])
      expect(Object.isFrozen(part)).toBe(true);
  });
});

describe('parsePolicy errors', () => {
  const REASON = 'so that it can be counted exactly';
  it.each([
    [
      { capacity: 1e8, refill: 0.001, unit: 'days' },
      `\`capacity\` must be at most 52124 at this \`refill\`, ${REASON}, got 100000000`,
    ],
    [
      { capacity: 8e12, refill: 1 },
      `\`capacity\` must be at most 4503599627370 at this \`refill\`, ${REASON}, got 8000000000000`,
    ],
    [{ capacity: 1e300, refill: 1 }, '`capacity` must be at most 9007199254740.99, got 1e+300'],
    [
      { capacity: 1_000_000.0001, refill: 1 },
      '`capacity` must be a number with at most three decimals, got 1000000.0001',
    ],
    [{ maxRequest: 1e10 }, '`maxRequest` must be at most 9007199254, got 10000000000'],
    [
      { maxRequest: 5, duration: 1e-7, unit: 'milliseconds' },
      '`duration` must be a whole number of milliseconds, got 1e-7',
    ],
    [{ maxRequest: 5, duration: -1 }, '`duration` must be a positive number of `unit`s, got -1'],
    [
      { maxRequest: 5, unit: '__proto__' },
      "`unit` must be one of milliseconds, seconds, minutes, hours, days, got '__proto__'",
    ],
    [
      { maxRequest: 5, unit: 'secondss' },
      "`unit` must be one of milliseconds, seconds, minutes, hours, days, got 'secondss'",
    ],
  ])('rejects %j: %s', (options, message) => {
    expect(() => parse(options)).toThrow(new RateLimitOptionError(message));
  });

  it('names the unknown option', () => {
    expect(() => parse({ maxRequests: 5 })).toThrow(/^unknown option `maxRequests`. Did you mean `maxRequest`\?$/);
    expect(() => parse({ colour: 5 })).toThrow(
      /^unknown option `colour`; known options are duration, unit, maxRequest, /,
    );
  });
});

describe('parseDuration', () => {
  it.each([
    [1, 1],
    [86_400_000, 86_400_000],
    ['250ms', 250],
    ['10s', 10_000],
    ['1.1s', 1100],
    ['0.5m', 30_000],
    ['2h', 7_200_000],
    ['7d', 604_800_000],
    ['3650d', 315_360_000_000],
  ])('parses %j as %p ms', (value, ms) => {
    expect(parseDuration('block', value)).toBe(ms);
  });

  it.each([
    [0, '`block` must be positive, got 0'],
    [-1, '`block` must be positive, got -1'],
    [Number.NaN, '`block` must be positive, got NaN'],
    [1.5, '`block` must be a whole number of milliseconds, got 1.5'],
    [1e-9, '`block` must be a whole number of milliseconds, got 1e-9'],
    ['1.2345s', "`block` must be a whole number of milliseconds, got '1.2345s'"],
    ['0s', "`block` must be positive, got '0s'"],
    [Infinity, '`block` must be at most ten years, got Infinity'],
    ['3651d', "`block` must be at most ten years, got '3651d'"],
  ])('rejects %p: %s', (value, message) => {
    let failure: unknown;
    try {
      parseDuration('block', value);
    } catch (error) {
      failure = error;
    }
    expect(failure).toBeInstanceOf(RateLimitOptionError);
    expect((failure as Error).message).toBe(message);
  });

  it.each(['', '10', '10 s', '-1s', '1e3s', '10S', '10w', '٣s', null, undefined, {}, ['1s'], 5n])(
    'rejects %p',
    (value) => {
      expect(() => parseDuration('block', value)).toThrow(
        /^`block` must be milliseconds or a string such as '10s', got /,
      );
    },
  );
});

describe('toAmount', () => {
  it('accepts at most three decimals, whatever the size of the number', () => {
    for (const n of [0.001, 0.1, 0.3, 1.005, 4.35, 1.1, 8.7, 1234.567, 1e6 + 0.001, 1e9 + 0.123, 9e12]) {
      expect(toAmount(n)).toBe(Math.round(n * 1000));
    }
    for (const n of [0.0001, 0.0005, 1.0001, 1234.5678, 1e6 + 0.0004, 1e8 + 0.0005, 1e16])
      expect(toAmount(n)).toBeUndefined();
    expect(() => amountOf(1e16)).toThrow(RangeError);
  });
});

describe('dividePolicy', () => {
  it('divides each limit among the instances, but leaves at least 1 each', () => {
    const options = { limits: [{ capacity: 10, refill: 3 }, { maxRequest: 100 }, { capacity: 2, refill: 1 }] };
    const { limits } = dividePolicy(parse(options), 4);
    expect(limits.map(({ size }) => size)).toEqual([2.5, 25, 1]);
    expect(limits[0].refill / limits[0].weight).toBe(3 / 4);
    expect(limits.map(({ fillTime }) => fillTime)).toEqual([3334, 1000, 4000]);
  });
});
