import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ResultCache } from '../../src/policy/result-cache.js';

const names = fc.constantFrom('maxRequest', 'capacity', 'unit', 'name', 'message', 'limits', 'then', '__proto__');
const leaves = fc.oneof(
  fc.constantFrom<unknown>(
    0,
    1,
    1.5,
    0.0001,
    2 ** 40,
    Infinity,
    true,
    false,
    null,
    undefined,
    '',
    '1',
    'minutes',
    'minutfs',
  ),
  fc.integer({ min: 0, max: 3 }),
);
const values: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 2 },
    { arbitrary: leaves, weight: 4 },
    { arbitrary: fc.array(tie('value'), { maxLength: 2 }), weight: 1 },
    { arbitrary: fc.dictionary(names, tie('value'), { maxKeys: 2 }), weight: 1 },
  ),
})).value;
const results = fc.dictionary(names, values, { minKeys: 1, maxKeys: 3 });

/** The same value in new objects. */
function copy<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(copy) as T;
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, copy(entry)])) as T;
}

/** An independent comparison, in which the order of properties counts. */
function text(value: unknown): string {
  if (typeof value !== 'object' || value === null) return `${typeof value} ${String(value)}`;
  if (Array.isArray(value)) return `[${value.map(text)}]`;
  return `{${Object.entries(value).map(([name, entry]) => `${name}: ${text(entry)}`)}}`;
}

function newCache() {
  let parses = 0;
  const cache = new ResultCache((result) => ({ result, number: ++parses }));
  return {
    cache,
    parses: () => parses,
    of: (result: object) => cache.recall(result) ?? cache.parsed(result),
  };
}

describe('ResultCache', () => {
  it('returns what a result was parsed to if and only if the result is equal', () => {
    let equal = 0;
    let different = 0;
    fc.assert(
      fc.property(
        fc.array(fc.oneof(results, fc.constant({ maxRequest: 1 })), { minLength: 2, maxLength: 30 }),
        (all) => {
          const { of } = newCache();
          const seen = new Map<unknown, string>();
          for (const result of all) {
            const parsed = of(copy(result));
            const before = seen.get(parsed);
            if (before === undefined) different++;
            else equal++;
            expect(before ?? text(result)).toBe(text(result));
            expect(text(parsed.result)).toBe(text(result));
            expect(of(copy(result))).toBe(parsed);
            seen.set(parsed, text(result));
          }
        },
      ),
      { numRuns: 300 },
    );
    expect(equal).toBeGreaterThan(300);
    expect(different).toBeGreaterThan(1000);
  });

  it('does not notice that a resolver changes what it has returned', () => {
    const { of } = newCache();
    const limits = [{ maxRequest: 5 }];
    const first = of({ limits });
    limits[0].maxRequest = 6;
    expect(first.result).toEqual({ limits: [{ maxRequest: 5 }] });
    expect(of({ limits })).not.toBe(first);
    expect(of({ limits: [{ maxRequest: 5 }] })).toBe(first);
  });

  it('compares functions, and instances of classes, by identity', () => {
    const { of } = newCache();
    const key = () => 'a';
    const date = new Date();
    const first = of({ maxRequest: 5, key, message: date });
    expect(of({ maxRequest: 5, key, message: date })).toBe(first);
    expect(of({ maxRequest: 5, key: () => 'a', message: date })).not.toBe(first);
    expect(of({ maxRequest: 5, key, message: new Date(date) })).not.toBe(first);
  });

  it('parses an instance of a class each time, because its options may be computed', () => {
    class Plan {
      maxRequest = 5;
      get unit() {
        return 'minutes';
      }
    }
    const { of, parses } = newCache();
    of({ maxRequest: 5 });
    const plan = new Plan();
    expect(of(plan).result).toBe(plan);
    expect(of(plan).result).toBe(plan);
    expect(parses()).toBe(3);
  });

  it('parses an invalid result each time', () => {
    const cache = new ResultCache(() => {
      throw new Error('invalid');
    });
    for (let i = 0; i < 3; i++) expect(() => cache.parsed({ maxRequest: -1 })).toThrow('invalid');
    expect(cache.size).toBe(0);
  });

  it('finds a thousand results in turn without parsing them again', () => {
    const { of, parses } = newCache();
    for (let i = 0; i < 5000; i++) of({ name: 'plan', maxRequest: 1 + (i % 1000), unit: 'minutes' });
    expect(parses()).toBe(1000);
  });

  it('remembers at most a thousand of any number of different results', () => {
    const { of, cache } = newCache();
    for (let i = 0; i < 100_000; i++) of({ maxRequest: i, unit: 'minutes' });
    expect(cache.size).toBe(1000);
  });

  it('remembers only the last of many results that differ in a function', () => {
    const { of, cache } = newCache();
    for (let i = 0; i < 10_000; i++) of({ maxRequest: 5, key: () => `${i}` });
    expect(cache.size).toBe(1);
  });
});
