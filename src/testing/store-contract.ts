import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { BucketService } from '../bucket/bucket.service.js';
import type { LimitOptions } from '../core/policy.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { FakeClock } from './fake-clock.js';
import { runVector, type Vector } from './vector.js';

/** Makes an empty store that decides by `clock`. It is closed by the suite. */
export type MakeStore = (clock: FakeClock) => RateLimitStore | Promise<RateLimitStore>;

/** The part of Jest, Vitest or `node:test` that the suite calls. */
export interface TestRunner {
  describe(name: string, body: () => void): void;
  it(name: string, body: () => Promise<void>): void;
}

const VECTORS = ['token-bucket', 'sliding-window', 'multi-limit', 'reservations', 'bucket-service'];

/**
 * The suite that every store must pass: all test vectors, and what they cannot say. Call it in a test file. Where
 * `describe` and `it` are no globals, as they are in Jest, hand them over.
 *
 * ```ts
 * describeStoreContract('MyStore', (clock) => new MyStore({ clock }), { describe, it });
 * ```
 */
export function describeStoreContract(
  name: string,
  makeStore: MakeStore,
  { describe, it }: TestRunner = globalThis as unknown as TestRunner,
): void {
  const load = createRequire(join(process.cwd(), 'package.json'));

  const withStore = (body: (buckets: BucketService, clock: FakeClock) => Promise<void>) => async () => {
    const clock = new FakeClock();
    const store = await makeStore(clock);
    try {
      await body(new BucketService(store), clock);
    } finally {
      await store.close();
    }
  };

  describe(`${name} keeps the contract of a store`, () => {
    for (const file of VECTORS) {
      describe(`vectors: ${file}`, () => {
        for (const vector of load(`nest-rate-limit/vectors/${file}.json`) as Vector[]) {
          it(
            `${vector.id}: ${vector.note}`,
            withStore((buckets, clock) => runVector(vector, buckets, clock)),
          );
        }
      });
    }

    it(
      'admits exactly 20 of 1,000 that ask at once a bucket of 20',
      withStore(async (buckets) => {
        const bucket = buckets.bucket({ capacity: 20, refill: 1, unit: 'hours' }, 'all');
        const answers = await Promise.all(Array.from({ length: 1000 }, () => bucket.tryConsume()));
        assert.equal(answers.filter((allowed) => allowed).length, 20);
      }),
    );

    it(
      'keeps the buckets of hostile keys apart',
      withStore(async (buckets) => {
        for (const key of HOSTILE_KEYS) {
          const bucket = buckets.bucket(ONCE, key);
          assert.equal(await bucket.tryConsume(), true, `first of ${JSON.stringify(key.slice(0, 40))}`);
          assert.equal(await bucket.tryConsume(), false, `second of ${JSON.stringify(key.slice(0, 40))}`);
        }
      }),
    );

    it(
      'keeps the buckets of policies with other numbers or another name apart',
      withStore(async (buckets) => {
        const policies: LimitOptions[] = [
          ONCE,
          { ...ONCE, name: 'other' },
          { ...ONCE, capacity: 2 },
          { ...ONCE, duration: 2 },
          { ...ONCE, refillMode: 'intervally' },
          { maxRequest: 1, unit: 'hours' },
          { maxRequest: 1, unit: 'hours', name: 'bucket:b1:1' },
        ];
        for (const policy of policies) assert.equal(await buckets.bucket(policy, 'key').tryConsume(), true);
      }),
    );

    it(
      'starts a block at the first refusal, does not renew it, and ends it to the millisecond',
      withStore(async (buckets, clock) => {
        const bucket = buckets.bucket({ maxRequest: 1, duration: 10, block: '3s' }, 'key');
        assert.equal(await bucket.tryConsume(), true);
        await clock.advance(9000);
        assert.equal((await bucket.decide()).retryAfter, 3000);
        await clock.advance(2999);
        assert.equal((await bucket.decide()).retryAfter, 1);
        await clock.advance(1);
        assert.equal(await bucket.tryConsume(), true);
      }),
    );

    it(
      'starts no block for an estimate',
      withStore(async (buckets) => {
        const bucket = buckets.bucket({ capacity: 1, refill: 1, block: '1h' }, 'key');
        await bucket.tryConsume();
        assert.equal((await bucket.estimate()).retryAfter, 3_600_000);
        await bucket.put();
        assert.equal(await bucket.tryConsume(), true);
      }),
    );

    it(
      'takes from several buckets together or not at all',
      withStore(async (buckets) => {
        const a = { name: 'a', capacity: 2, refill: 1, unit: 'hours' } as const;
        const b = { name: 'b', maxRequest: 1, unit: 'hours' } as const;
        assert.equal(await takeAll(buckets, [a, b]), true);
        assert.equal(await takeAll(buckets, [a, b]), false);
        assert.equal(await buckets.bucket(a, 'key').available(), 1);
      }),
    );
  });
}

async function takeAll(buckets: BucketService, policies: LimitOptions[]): Promise<boolean> {
  return (await buckets.decideAll(policies.map((policy) => ({ policy, key: 'key' })))).allowed;
}

const ONCE: LimitOptions = { capacity: 1, refill: 1, unit: 'hours' };

const HOSTILE_KEYS = [
  'a',
  '{a}',
  '{',
  '}',
  '{}',
  'a}:b',
  ':',
  'a:',
  ':a',
  ' ',
  'a b',
  '\n',
  '\r\nFLUSHALL\r\n',
  '\0',
  '%',
  '%61',
  '__proto__',
  'constructor',
  'hasOwnProperty',
  'ü',
  'u\u0308',
  '日本語',
  '😀',
  '\ud83d',
  '\ude00',
  'x'.repeat(10_000),
  `${'x'.repeat(10_000)}y`,
  '*',
  '?',
  '[a]',
  '\\',
  '"',
  "'",
];
