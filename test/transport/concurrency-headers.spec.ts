import { describe, expect, it } from '@jest/globals';
import { MemoryStore } from 'nest-rate-limit';
import { type LimitOptions, parsePolicy } from '../../src/core/policy.js';
import type { HeaderSet } from '../../src/transport/header-formats.js';
import { fixedHeaders, writeHeaders } from '../../src/transport/headers.js';

const SLOTS = { name: 'reports', concurrency: 4 };
const MIXED = {
  name: 'reports',
  limits: [
    { name: 'inflight', concurrency: 1 },
    { name: 'rate', capacity: 10, refill: 1 },
  ],
};

/** The headers of a request that was admitted with these limits. */
function headersOf(options: LimitOptions, sets: HeaderSet[], requests = 1): Record<string, string> {
  const store = new MemoryStore();
  const policy = parsePolicy(options, 'policy');
  const take = { policy, key: 'k', amount: 1000, maxWait: 0, holder: { id: 1, isLasting: true } };
  const [answer] = Array.from({ length: requests }, () => store.run({ verb: 'take', takes: [take] })).reverse();
  store.close();
  const headers: Record<string, string> = {};
  const writer = {
    setHeader(_response: unknown, name: string, value: string) {
      headers[name] = value;
    },
  };
  writeHeaders(answer, sets, fixedHeaders([policy]), writer, {});
  return headers;
}

describe('Headers of concurrency limits', () => {
  it('report the quota unit of draft-11, and no window', () => {
    expect(headersOf(SLOTS, ['draft-11'])).toEqual({
      'ratelimit-policy': '"reports";q=4;qu="concurrent-requests"',
      ratelimit: '"reports";r=3',
    });
  });

  it('report the time to the next attempt when no slot is free', () => {
    expect(headersOf(SLOTS, ['draft-11'], 5)).toEqual({
      'ratelimit-policy': '"reports";q=4;qu="concurrent-requests"',
      ratelimit: '"reports";r=0;t=1',
      'retry-after': '1',
    });
  });

  it('report each limit of its own kind in draft-11', () => {
    expect(headersOf(MIXED, ['draft-11'])).toEqual({
      'ratelimit-policy': '"reports/inflight";q=1;qu="concurrent-requests", "reports/rate";q=10;w=10',
      ratelimit: '"reports/inflight";r=0;t=1, "reports/rate";r=9;t=1',
    });
  });

  it.each([
    ['draft-6', 'ratelimit'],
    ['legacy', 'x-ratelimit'],
  ] as const)('are left out of %s beside other limits', (set, prefix) => {
    expect(headersOf(MIXED, [set])).toEqual({
      [`${prefix}-limit`]: '10',
      [`${prefix}-remaining`]: '9',
      [`${prefix}-reset`]: '1',
    });
  });

  it('are the free slots in draft-6 if there is no other limit', () => {
    expect(headersOf(SLOTS, ['draft-6'])).toEqual({ 'ratelimit-limit': '4', 'ratelimit-remaining': '3' });
  });
});
