import assert from 'node:assert/strict';
import { BucketService } from '../bucket/bucket.service.js';
import { type LimitOptions, parsePolicy } from '../core/policy.js';
import { defineResolvedPolicy } from '../core/resolved-policy.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import type { DeclareTest } from './declare-test.js';
import { FakeClock } from './fake-clock.js';
import { testSlots } from './slot-contract.js';
import { readVectorFiles } from './vector-files.js';
import { runVector } from './vector-runner.js';

/** Creates an empty store that uses `clock`. The suite closes it. */
export type MakeStore = (clock: FakeClock) => RateLimitStore | Promise<RateLimitStore>;

/** The functions of Jest, Vitest or `node:test` that the suite calls. */
export interface TestRunner {
  describe(name: string, body: () => void): void;
  it(name: string, body: () => Promise<void>): void;
}

/**
 * Declares the tests that every store must pass: all test vectors, and tests for concurrency, keys, policies,
 * blocks, refunds and slots. Call it in a test file.
 *
 * ```ts
 * describeStoreContract('MyStore', (clock) => new MyStore({ clock }));
 * ```
 *
 * @param name The name of the store in the titles.
 * @param makeStore Creates an empty store for each test.
 * @param runner `describe` and `it` of the test runner; default: the globals, as in Jest.
 */
export function describeStoreContract(
  name: string,
  makeStore: MakeStore,
  runner: TestRunner = globalThis as unknown as TestRunner,
): void {
  const test: DeclareTest = (title, body) => {
    runner.it(title, async () => {
      const clock = new FakeClock();
      const store = await makeStore(clock);
      try {
        await body(new BucketService(store), clock, store);
      } finally {
        await store.close();
      }
    });
  };
  runner.describe(`${name} (store contract)`, () => {
    for (const file of readVectorFiles()) {
      runner.describe(`vectors: ${file.name}`, () => {
        for (const vector of file.vectors) {
          test(`${vector.id}: ${vector.note}`, (buckets, clock) => runVector(vector, buckets, clock));
        }
      });
    }
    testConcurrency(test);
    testIsolation(test);
    testBlocks(test);
    testAtomicity(test);
    testReplacement(test);
    testMarks(test);
    testResolved(test);
    testSlots(test);
  });
}

function testConcurrency(test: DeclareTest): void {
  test('admits exactly 20 of 1,000 concurrent requests with a capacity of 20', async (buckets) => {
    const bucket = buckets.bucket({ capacity: 20, refill: 1, unit: 'hours' }, 'all');
    const results = await Promise.all(Array.from({ length: 1000 }, () => bucket.tryConsume()));
    assert.equal(results.filter((allowed) => allowed).length, 20);
  });
}

function testIsolation(test: DeclareTest): void {
  test('keeps buckets with hostile keys separate', async (buckets) => {
    for (const key of HOSTILE_KEYS) {
      const bucket = buckets.bucket(ONCE, key);
      assert.equal(await bucket.tryConsume(), true, `first take of ${JSON.stringify(key.slice(0, 40))}`);
      assert.equal(await bucket.tryConsume(), false, `second take of ${JSON.stringify(key.slice(0, 40))}`);
    }
  });

  test('keeps policies with different limits or names separate', async (buckets) => {
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
  });
}

function testBlocks(test: DeclareTest): void {
  test('starts a block on the first denial, never extends it, and ends it on time', async (buckets, clock) => {
    const bucket = buckets.bucket({ maxRequest: 1, duration: 10, block: '3s' }, 'key');
    assert.equal(await bucket.tryConsume(), true);
    await clock.advance(9000);
    assert.equal((await bucket.decide()).retryAfter, 3000);
    await clock.advance(2999);
    assert.equal((await bucket.decide()).retryAfter, 1);
    await clock.advance(1);
    assert.equal(await bucket.tryConsume(), true);
  });

  test('starts no block for an estimate', async (buckets) => {
    const bucket = buckets.bucket({ capacity: 1, refill: 1, block: '1h' }, 'key');
    await bucket.tryConsume();
    assert.equal((await bucket.estimate()).retryAfter, 3_600_000);
    await bucket.put();
    assert.equal(await bucket.tryConsume(), true);
  });
}

function testAtomicity(test: DeclareTest): void {
  test('takes from all of several buckets, or from none', async (buckets) => {
    const a = { name: 'a', capacity: 2, refill: 1, unit: 'hours' } as const;
    const b = { name: 'b', maxRequest: 1, unit: 'hours' } as const;
    assert.equal(await takeAll(buckets, [a, b]), true);
    assert.equal(await takeAll(buckets, [a, b]), false);
    assert.equal(await buckets.bucket(a, 'key').available(), 1);
  });
}

function testReplacement(test: DeclareTest): void {
  test('wakes watchers of the bucket that a replacement fills', async (buckets) => {
    const before = { name: 'before', capacity: 1, refill: 0 };
    const after = { name: 'after', capacity: 5, refill: 0 };
    const bucket = buckets.bucket(after, 'key');
    assert.equal(await bucket.tryConsume(5), true);
    const watching = bucket.watch(5);
    await buckets.bucket(before, 'key').replacePolicy(after, 'reset');
    await watching;
    assert.equal(await bucket.available(), 5);
  });
}

function testMarks(test: DeclareTest): void {
  test('refunds a take with a mark once, and only what still counts of it', async (_, clock, store) => {
    const limits = [
      { name: 'bucket', capacity: 5, refill: 1 },
      { name: 'window', maxRequest: 5, duration: 4 },
    ];
    const policy = parsePolicy({ name: 'marks', limits }, 'marks');
    const run = async (verb: 'take' | 'put', tokens: number, mark: number) => {
      const answer = await store.run({
        verb,
        takes: [{ policy, key: 'key', amount: tokens * 1000, maxWait: 0, mark }],
      });
      return answer.limits.map(({ remaining }) => remaining);
    };
    assert.deepEqual(await run('take', 5, 1), [0, 0]);
    await clock.advance(3000);
    assert.deepEqual(await run('put', 2, 1), [5, 2]);
    assert.deepEqual(await run('put', 2, 1), [5, 2]);
    assert.deepEqual(await run('take', 2, 2), [3, 0]);
    await clock.advance(1000);
    assert.deepEqual(await run('take', 1, 3), [3, 2]);
    assert.deepEqual(await run('put', 2, 2), [4, 4]);
    assert.deepEqual(await run('put', 1, 3), [5, 5]);
  });

  test('keeps the queue, and empties it when all requests have left it', async (_, clock, store) => {
    const policy = parsePolicy({ name: 'queue', capacity: 2, refill: 1 }, 'queue');
    const take = { policy, key: 'key', amount: 1000, maxWait: Infinity };
    const queue = async () => (await store.run({ verb: 'take', takes: [take] })).actAt;
    const leave = async (actAt?: readonly number[]) => store.run({ verb: 'cancel', takes: [take], actAt });
    const nextWait = async () => (await store.run({ verb: 'estimate', takes: [{ ...take, maxWait: 0 }] })).retryAfter;
    assert.deepEqual([await queue(), await queue()], [undefined, undefined]);
    const [first, second, third] = [await queue(), await queue(), await queue()];
    await leave(first);
    assert.equal(await nextWait(), 4000);
    await clock.advance(500);
    await leave(third);
    assert.equal(await nextWait(), 2500);
    await leave(second);
    assert.equal(await nextWait(), 500);
  });
}

function testResolved(test: DeclareTest): void {
  test('keeps the balance of a bucket whose numbers change between requests', async (_, clock, store) => {
    const take = async (capacity: number, refill: number, tokens: number) => {
      const policy = defineResolvedPolicy({ name: 'plan', capacity, refill }, 'plan');
      const answer = await store.run({
        verb: 'take',
        takes: [{ policy, key: 'key', amount: tokens * 1000, maxWait: 0 }],
      });
      return [answer.allowed, answer.remaining];
    };
    assert.deepEqual(await take(10, 3, 4), [true, 6]);
    assert.deepEqual(await take(1, 1, 2), [false, 1]);
    assert.deepEqual(await take(100, 7, 5), [true, 1]);
    await clock.advance(2000);
    assert.deepEqual(await take(10, 4, 10), [false, 9]);
    assert.deepEqual(await take(20, 5, 11), [true, 0]);
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
