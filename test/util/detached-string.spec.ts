import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from '@jest/globals';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import fc from 'fast-check';
import { type LimitOptions, MemoryStore, type RateLimitStore } from 'nest-rate-limit';
import { parsePolicy } from '../../src/core/policy.js';
import { clientKey } from '../../src/keys/client-key.js';
import { DenyCacheStore } from '../../src/stores/remote/deny-cache.store.js';
import { LeaseStore } from '../../src/stores/remote/lease.store.js';
import { detachedString } from '../../src/util/detached-string.js';
import { FarStore } from '../support/far-store.js';

describe('detachedString', () => {
  it('returns an equal string, whatever its characters', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => detachedString(text) === text));
    for (const character of ['\ud83d', '\ude00', 'ÿ', 'Ā', '\0']) {
      expect(detachedString(character.repeat(20))).toBe(character.repeat(20));
    }
  });
});

/** A part of a long text, as a framework cuts it out of a header. */
function cutKey(text: string, i: number): string {
  return `${text}${i}=${'x'.repeat(100_000)}`.slice(0, text.length + String(i).length);
}

const take = (options: LimitOptions, takes = 1) => {
  const policy = parsePolicy(options, 'test');
  return (store: RateLimitStore) => async (key: string) => {
    for (let n = 0; n < takes; n++) {
      await store.run({ verb: 'take', takes: [{ policy, key, amount: 1000, maxWait: 0 }] });
    }
  };
};
const bucket = { capacity: 1, refill: 1, unit: 'days' } as const;

describe('Keys that are cut out of long strings', () => {
  it.each([
    ['a bucket', () => take(bucket)(new MemoryStore())],
    ['a window', () => take({ maxRequest: 1, unit: 'days' })(new MemoryStore())],
    ['a blocked bucket', () => take({ ...bucket, block: '1d' }, 2)(new MemoryStore())],
    ['a remembered denial', () => take(bucket, 2)(new DenyCacheStore(new FarStore()))],
    ['a lease', () => take({ ...bucket, capacity: 10, lease: 5 })(new LeaseStore(new FarStore()))],
    [
      'the key of a client address',
      () => async (ip: string) => clientKey(new ExecutionContextHost([{ ip, socket: {} }, {}], class {}, () => {})),
    ],
  ])('do not keep these strings in memory: %s', async (name, open) => {
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc') as () => void;
    const use = open();
    const text = name.includes('address') ? '2001:db8:1234:5678:' : 'session-1234567890-';
    await use(cutKey(text, 0));
    gc();
    const before = process.memoryUsage().heapUsed;
    for (let i = 1; i <= 300; i++) await use(cutKey(text, i));
    gc();
    // 300 strings of 100 kB are 30 MB.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(8_000_000);
  });
});
