import { describe, expect, it } from '@jest/globals';
import { RateLimitOptionError } from 'nest-rate-limit';
import { amountOf, toAmount } from '../../src/core/amount.js';
import { dividePolicy, type LimitOptions, parsePolicy } from '../../src/core/policy.js';
import { parseDuration } from '../../src/util/duration.js';

/** What JavaScript can pass, whatever the types say. */
const parse = (options: unknown) => parsePolicy(options as LimitOptions, 'test');

describe('the numbers of a policy', () => {
  // A window of n per ms: `w n/ms`. A bucket of n that gains r per ms: `b n +r/ms`, with `@` at each boundary.
  const meaning = (options: unknown) =>
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
      'both',
      { maxRequest: 100, capacity: 20, refill: 10, duration: 1, unit: 'hour' },
      ['w 100/3600000', `b 20 +${10 / 36e5}/1`],
    ],
    ['a bucket without refill', { capacity: 3, refill: 0 }, ['b 3 +0/1']],
    ['a fixed window', { capacity: 5, refill: 5, unit: 'days', refillMode: 'intervally' }, ['b 5 +5/@86400000']],
    ['more refill than capacity', { capacity: 5, refill: 9, refillMode: 'intervally' }, ['b 5 +5/@1000']],
    ['several', { limits: [{ maxRequest: 1 }, { capacity: 2, refill: 1 }] }, ['w 1/1000', 'b 2 +0.001/1']],
  ])('%s', (_, options, expected) => {
    expect(meaning(options)).toEqual(expected);
  });

  it.each([
    [{ capacity: 20, refill: 10, unit: 'minutes' }, 120_000],
    [{ capacity: 5, refill: 2, refillMode: 'intervally' }, 3000],
    [{ capacity: 1, refill: 3 }, 334],
    [{ maxRequest: 9, duration: 7 }, 7000],
    [{ capacity: 1, refill: 0 }, Infinity],
  ])('%j needs %p ms to fill', (options, ms) => {
    expect(parse(options).fillTime).toBe(ms);
  });

  it('name each limit where there are several, and no two alike', () => {
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

  it('make an identity that other numbers or another name do not have', () => {
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

  it('are frozen', () => {
    const policy = parse({ limits: [{ maxRequest: 1 }] });
    for (const part of [policy, policy.limits, policy.limits[0], policy.labels])
      expect(Object.isFrozen(part)).toBe(true);
  });
});

describe('wrong numbers', () => {
  const MOST_A_DAY = 'so that it can be counted exactly';
  it.each([
    [
      { capacity: 1e8, refill: 0.001, unit: 'days' },
      `\`capacity\` must be at most 52124 at this \`refill\`, ${MOST_A_DAY}, got 100000000`,
    ],
    [
      { capacity: 8e12, refill: 1 },
      `\`capacity\` must be at most 4503599627370 at this \`refill\`, ${MOST_A_DAY}, got 8000000000000`,
    ],
    [{ capacity: 1e300, refill: 1 }, '`capacity` must be a number of at most three decimals, got 1e+300'],
    [
      { capacity: 1_000_000.0001, refill: 1 },
      '`capacity` must be a number of at most three decimals, got 1000000.0001',
    ],
    [{ maxRequest: 1e10 }, '`maxRequest` must be a positive whole number, got 10000000000'],
    [
      { maxRequest: 5, duration: 1e-7, unit: 'milliseconds' },
      '`duration` must be a whole number of milliseconds, got 1e-7',
    ],
    [{ maxRequest: 5, duration: -1 }, '`duration` must be a positive number of `unit`s, got -1'],
    [
      { maxRequest: 5, unit: '__proto__' },
      '`unit` must be one of milliseconds, seconds, minutes, hours, days, got "__proto__"',
    ],
    [
      { maxRequest: 5, unit: 'secondss' },
      '`unit` must be one of milliseconds, seconds, minutes, hours, days, got "secondss"',
    ],
  ])('%j: %s', (options, message) => {
    expect(() => parse(options)).toThrow(new RateLimitOptionError(message));
  });

  it('name the option that is not known', () => {
    expect(() => parse({ maxRequests: 5 })).toThrow(
      /^unknown option `maxRequests`, known are duration, unit, maxRequest, /,
    );
  });
});

describe('a duration', () => {
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
  ])('%j is %p ms', (value, ms) => {
    expect(parseDuration('block', value)).toBe(ms);
  });

  it.each([
    [0, '`block` must be positive, got 0'],
    [-1, '`block` must be positive, got -1'],
    [Number.NaN, '`block` must be positive, got NaN'],
    [1.5, '`block` must be a whole number of milliseconds, got 1.5'],
    [1e-9, '`block` must be a whole number of milliseconds, got 1e-9'],
    ['1.2345s', '`block` must be a whole number of milliseconds, got "1.2345s"'],
    ['0s', '`block` must be positive, got "0s"'],
    [Infinity, '`block` must be at most ten years, got Infinity'],
    ['3651d', '`block` must be at most ten years, got "3651d"'],
  ])('%p is none: %s', (value, message) => {
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
    '%p is none',
    (value) => {
      expect(() => parseDuration('block', value)).toThrow(/^`block` must be milliseconds or text such as '10s', got /);
    },
  );
});

describe('a number of tokens', () => {
  it('has at most three decimals, whatever its size', () => {
    for (const n of [0.001, 0.1, 0.3, 1.005, 4.35, 1.1, 8.7, 1234.567, 1e6 + 0.001, 1e9 + 0.123, 9e12]) {
      expect(toAmount(n)).toBe(Math.round(n * 1000));
    }
    for (const n of [0.0001, 0.0005, 1.0001, 1234.5678, 1e6 + 0.0004, 1e8 + 0.0005, 1e16])
      expect(toAmount(n)).toBeUndefined();
    expect(() => amountOf(1e16)).toThrow(RangeError);
  });
});

describe('a policy that is divided among instances', () => {
  it('admits in all of them together no more than whole, but one each', () => {
    const options = { limits: [{ capacity: 10, refill: 3 }, { maxRequest: 100 }, { capacity: 2, refill: 1 }] };
    const { limits } = dividePolicy(parse(options), 4);
    expect(limits.map(({ size }) => size)).toEqual([2.5, 25, 1]);
    expect(limits[0].refill / limits[0].weight).toBe(3 / 4);
    expect(limits.map(({ fillTime }) => fillTime)).toEqual([3334, 1000, 4000]);
  });
});
