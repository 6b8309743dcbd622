import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { parseLiteral } from '../../../docs/playground/literal.js';
import { parsePolicies } from '../../../docs/playground/policies.js';

describe('parseLiteral', () => {
  it.each<[string, unknown]>([
    ['{ maxRequest: 5, unit: "minutes" }', { maxRequest: 5, unit: 'minutes' }],
    ["{ 'capacity': 10_000, refill: .5, }", { capacity: 10_000, refill: 0.5 }],
    ['@RateLimit({ maxRequest: 5, unit: TimeUnit.MINUTES })', { maxRequest: 5, unit: 'minutes' }],
    ['RateLimit(\n  [{ maxRequest: 1 }, { maxRequest: 2 },],\n);', [{ maxRequest: 1 }, { maxRequest: 2 }]],
    ['{ // a comment\n maxRequest: 5 /* another */ }', { maxRequest: 5 }],
    ['{ skip: true, key: `all`, name: "a\\"b\\u0041" }', { skip: true, key: 'all', name: 'a"bA' }],
    ['{ maxRequest: -1e3, block: null, cost: undefined }', { maxRequest: -1000, block: null, cost: undefined }],
    ['Infinity', Infinity],
    ['[]', []],
  ])('reads %j', (text, value) => {
    expect(parseLiteral(text)).toEqual(value);
  });

  it('reads what JSON.stringify writes', () =>
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        expect(parseLiteral(JSON.stringify(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    ));

  it('reads any text, or fails with the position', () =>
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'{}[]:,\'"`\\/*- 1a_.\n@('), maxLength: 60 }), (text) => {
        try {
          parseLiteral(text);
        } catch (error) {
          expect((error as Error).message).toMatch(/^Line \d+, column \d+: expected /);
        }
      }),
      { numRuns: 1000 },
    ));

  it.each([
    ['{ maxRequest: }', 'Line 1, column 15: expected a value'],
    ['{\n  maxRequest 5\n}', "Line 2, column 14: expected ':'"],
    ['{ maxRequest: 5', "Line 1, column 16: expected ',' or '}'"],
    ['{ maxRequest: 5 } x', 'Line 1, column 19: expected the end'],
    ['', 'Line 1, column 1: expected a value'],
    ['{ key: byUser() }', 'Line 1, column 8: expected a constant: functions and variables are not available here'],
    ['{ skip: () => true }', 'Line 1, column 9: expected a constant: functions and variables are not available here'],
    ['[[[[[[[[[[[1]]]]]]]]]]]', 'Line 1, column 11: expected at most 10 levels'],
    ['x'.repeat(5001), 'The policy must be at most 5000 characters'],
  ])('fails for %j with the position', (text, message) => {
    expect(() => parseLiteral(text)).toThrow(message);
  });

  it('changes no prototype', () => {
    const parsed = parseLiteral('{ __proto__: { maxRequest: 5 } }') as Record<string, unknown>;
    expect(Object.getPrototypeOf(parsed)).toBe(Object.prototype);
    expect(Object.keys(parsed)).toEqual(['__proto__']);
  });
});

describe('parsePolicies', () => {
  it.each([
    ['{ maxRequst: 5 }', 'unknown option `maxRequst`. Did you mean `maxRequest`?'],
    ['{ limit: 5 }', 'unknown option `limit`. Did you mean `maxRequest`?'],
    ['{ maxRequest: 0 }', '`maxRequest` must be a positive whole number, got 0'],
    ['{ maxRequest: "5" }', "`maxRequest` must be a positive whole number, got '5'. Convert strings by Number()"],
    ['{ capacity: 5 }', '`refill` or `maxRequest` must be given with `capacity`'],
    ['{ maxRequest: 5, cost: 6 }', '`cost` must be at most 5, otherwise no request could be allowed, got 6'],
    ['[]', 'a list must have at least one policy, got []'],
    ['5', '`options` must be an object, got 5'],
    ['"sms"', "unknown policy 'sms'; `policies` is empty"],
    ['{ __proto__: 5 }', 'unknown option `__proto__`'],
    [
      '[{ name: "a", maxRequest: 5 }, { name: "a", maxRequest: 6 }]',
      "two policies are named 'a' but have different limits or keys",
    ],
  ])('reports the error of the library for %j', (text, message) => {
    const parsed = parsePolicies(text);
    expect(parsed).toEqual({
      error: expect.stringContaining(`Invalid @RateLimit on OrdersController.list: ${message}`),
    });
  });

  it('accepts the options that have no effect in a simulation, and lists them', () => {
    expect(parsePolicies('{ maxRequest: 5 }')).toMatchObject({ ignored: [] });
    expect(parsePolicies('[{ maxRequest: 5 }, { maxRequest: 9, settle: "failures", dryRun: true }]')).toMatchObject({
      ignored: ['dryRun', 'settle'],
    });
    const invalid = parsePolicies('{ maxRequest: 5, dryRun: 1 }');
    expect(invalid).toEqual({ error: expect.stringContaining('`dryRun` must be true or false, got 1') });
  });

  it('never throws', () =>
    fc.assert(
      fc.property(fc.string({ maxLength: 40 }), (text) => {
        const parsed = parsePolicies(text);
        expect('plan' in parsed || 'error' in parsed).toBe(true);
      }),
    ));
});
