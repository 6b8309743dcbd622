import { inspect } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { every } from '../../../docs/playground/browser/clock.js';
import { detachedString } from '../../../docs/playground/browser/detached-string.js';
import * as standIn from '../../../docs/playground/browser/node.js';

describe('Modules that replace those of Node in the playground', () => {
  const strings = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({
      unit: fc.constantFrom('a', "'", '"', '`', '$', '{', '\\', '\n', '\v', '\x7f', '\x85', '\ud800', '\udc00'),
    }),
  );

  it('quote strings as Node does', () =>
    fc.assert(
      fc.property(strings, (text) => {
        expect(standIn.inspect(text)).toBe(inspect(text));
      }),
      { numRuns: 2000 },
    ));

  it('keep strings, start no timers, and fail to hash', () => {
    expect(detachedString('a client with a long name')).toBe('a client with a long name');
    expect(every()()).toBeUndefined();
    expect(standIn.createHash).toThrow('is not available in the playground');
  });
});
