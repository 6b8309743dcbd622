import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { INestApplicationContext } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { BucketService, RateLimitModule, RateLimitStoreError } from 'nest-rate-limit';
import { FarStore } from '../support/far-store.js';

const LIMITS = { capacity: 5, refill: 1 };

describe('the failure mode of a named policy in manual checks', () => {
  const store = new FarStore();
  let app: INestApplicationContext;
  let buckets: BucketService;

  beforeEach(async () => {
    const policies = {
      closed: { ...LIMITS, onStoreError: 'closed' },
      open: { ...LIMITS, onStoreError: 'open' },
    } as const;
    const root = RateLimitModule.forRoot({ store, policies });
    app = await Test.createTestingModule({ imports: [root] }).compile();
    await app.init();
    buckets = app.get(BucketService);
    store.unavailable = true;
  });

  afterEach(async () => {
    store.unavailable = false;
    await app.close();
  });

  it('applies to its buckets', async () => {
    await expect(buckets.bucket('closed', 'key').decide()).rejects.toThrow(RateLimitStoreError);
    expect((await buckets.bucket('open', 'key').decide()).source).toBe('open');
    expect((await buckets.bucket(LIMITS, 'key').decide()).source).toBe('fallback');
  });

  it('applies to decisions on several buckets, of which the strictest counts', async () => {
    const [closed, open, unnamed] = ['closed', 'open', LIMITS].map((policy) => ({ policy, key: 'key' }));
    await expect(buckets.decideAll([open, closed])).rejects.toThrow(RateLimitStoreError);
    expect((await buckets.decideAll([open])).source).toBe('open');
    expect((await buckets.decideAll([open, unnamed])).source).toBe('fallback');
  });

  it('applies to the bucket that replaces another', async () => {
    store.unavailable = false;
    const replaced = await buckets.bucket(LIMITS, 'key').replacePolicy('closed', 'as-is');
    store.unavailable = true;
    await expect(replaced.decide()).rejects.toThrow(RateLimitStoreError);
  });
});
