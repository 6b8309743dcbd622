import { describe, expect, it } from '@jest/globals';
import { formatError, formatValue } from '../../src/util/option-error.js';

const LINE = '\n[Nest] LOG forged';
const deep = () => {
  let value: unknown[] = [];
  for (let i = 0; i < 100_000; i++) value = [value];
  return value;
};

describe('formatValue', () => {
  it.each([
    ['text', "'text'"],
    ["it's", `"it's"`],
    ['x'.repeat(61), `'${'x'.repeat(60)}…'`],
    [LINE, "'\\n[Nest] LOG forged'"],
    [7, '7'],
    [-0, '0'],
    [Number.NaN, 'NaN'],
    [10n, '10'],
    [undefined, 'undefined'],
    [null, 'null'],
    [true, 'true'],
    [Symbol('s'), 'Symbol(s)'],
    [[], '[]'],
    [['draft-99'], "['draft-99']"],
    [[1, [2, [3]], { a: 1 }], '[1, […], { a }]'],
    [[1, 2, 3, 4, 5, 6], '[1, 2, 3, 4, 5, …]'],
    [{}, '{}'],
    [{ limit: 10, password: 'secret' }, '{ limit, password }'],
    [Object.create(null), '{}'],
    [new Map(), 'an instance of Map'],
    [new (class Own {})(), 'an instance of Own'],
    [class Own {}, 'class Own'],
    [function own() {}, 'function own'],
    [() => {}, 'function (anonymous)'],
  ])('shows %p as %s', (value, text) => {
    expect(formatValue(value)).toBe(text);
  });

  it.each([
    { constructor: { name: LINE } },
    { toString: 1, valueOf: 1 },
    { [LINE]: 1 },
    { ['k'.repeat(50_000)]: 1 },
    JSON.parse(`{"__proto__":{"constructor":{"name":${JSON.stringify(LINE)}}}}`),
    Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`key-${i}`, i])),
    [LINE, { constructor: { name: LINE } }],
    LINE.repeat(1000),
    deep(),
    new Array(100_000).fill('x'.repeat(1000)),
  ])('shows a hostile value in one short line: %#', (value) => {
    const text = formatValue(value);
    expect(text).not.toMatch(/[\n\r]/);
    expect(text.length).toBeLessThan(400);
  });
});

describe('formatError', () => {
  it.each([
    [new Error('no user'), 'Error: no user'],
    [new TypeError('a\nb\r\u001b\u007f\u0085\u2028'), 'TypeError: a\\u000ab\\u000d\\u001b\\u007f\\u0085\\u2028'],
    [new Error('x'.repeat(1000)), `Error: ${'x'.repeat(193)}…`],
    [undefined, 'undefined'],
    [LINE, "'\\n[Nest] LOG forged'"],
  ])('shows %p in one short line', (error, text) => {
    expect(formatError(error)).toBe(text);
  });
});
