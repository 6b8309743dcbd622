import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { MemoryStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { toAmount } from '../../../src/core/amount.js';
import { toDecision } from '../../../src/core/answer.js';
import type { StoreAnswer } from '../../../src/core/decision.js';
import type { LimitOptions } from '../../../src/core/policy.js';
import { parsePolicy } from '../../../src/core/policy.js';
import type { StoreRequest, Take } from '../../../src/core/request.js';
import { DenyCacheStore } from '../../../src/stores/remote/deny-cache.store.js';
import { StoreWrapper } from '../../../src/stores/remote/store-wrapper.js';
import { closeBuckets, openBuckets } from '../../support/buckets.js';
import { type RedisServer, startRedis } from '../../support/redis.js';

const take = (policy: LimitOptions, n = 1, maxWait = 0, key = 'key'): Take => ({
  policy: parsePolicy(policy, 'test'),
  key,
  amount: n === 0 ? 0 : (toAmount(n) as number),
  maxWait,
});
const BUCKET = { name: 'bucket', capacity: 5, refill: 1 };
const WINDOW = { name: 'window', duration: 10, maxRequest: 3 };

/** Counts calls. */
class CountingStore extends StoreWrapper {
  calls = 0;
  /** Delays the answers until it resolves. */
  gate: Promise<void> | undefined;

  override run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer> {
    this.calls++;
    const answer = this.store.run(request);
    return this.gate ? this.gate.then(() => answer) : answer;
  }
}

describe('DenyCacheStore', () => {
  let clock: FakeClock;
  let memory: MemoryStore;
  let counting: CountingStore;
  let cache: DenyCacheStore;
  beforeEach(() => {
    clock = new FakeClock();
    memory = new MemoryStore({ clock });
    counting = new CountingStore(memory);
    cache = new DenyCacheStore(counting);
  });
  afterEach(() => cache.close());

  const run = (verb: StoreRequest['verb'], takes: Take | Take[], more: Partial<StoreRequest> = {}) => {
    const before = counting.calls;
    const answer = cache.run({ verb, takes: [takes].flat(), ...more }) as StoreAnswer;
    return { answer, calls: counting.calls - before };
  };
  const exhaust = (policy = BUCKET as LimitOptions, key = 'key') => {
    while (run('take', take(policy, 1, 0, key)).answer.allowed);
  };

  it.each([BUCKET, WINDOW])(
    'counts down the times of a denial to the millisecond, and queries the store each second and at the end',
    async (policy) => {
      exhaust(policy);
      const { answer: first } = run('take', take(policy)); // cached
      expect(first.source).toBe('cache');
      let age = 0;
      for (let elapsed = 0; elapsed < first.retryAfter; ) {
        const step = Math.min(137, first.retryAfter - elapsed - 1);
        if (step === 0) break;
        await clock.advance(step);
        elapsed += step;
        age += step;
        const { answer, calls } = run('take', take(policy));
        expect({ calls, source: answer.source, allowed: answer.allowed }).toEqual(
          age < 1000 ? { calls: 0, source: 'cache', allowed: false } : { calls: 1, source: 'store', allowed: false },
        );
        if (calls > 0) age = 0;
        const expected = toDecision(memory.run({ verb: 'estimate', takes: [take(policy)] }));
        expect(toDecision(answer)).toEqual({ ...expected, source: answer.source });
      }
      expect(run('take', take(policy)).answer.allowed).toBe(false); // one millisecond early
      await clock.advance(1);
      expect(run('take', take(policy))).toMatchObject({ calls: 1, answer: { allowed: true, source: 'store' } });
    },
  );

  it('denies an equal cost, denies a higher cost with its own retryAfter, and queries the store for a lower cost', () => {
    run('take', take(BUCKET, 3));
    expect(run('take', take(BUCKET, 4)).answer.retryAfter).toBe(2000);
    expect(run('take', take(BUCKET, 4)).calls).toBe(0);
    expect(run('take', take(BUCKET, 5))).toMatchObject({ calls: 0, answer: { retryAfter: 3000 } });
    expect(run('take', take(BUCKET, 3))).toMatchObject({ calls: 1, answer: { retryAfter: 1000 } });
  });

  it.each([
    ['a window', { name: 'window-cost', maxRequest: 5, duration: 10 }],
    ['a bucket with interval refill', { ...BUCKET, name: 'interval-cost', refillMode: 'intervally' }],
    [
      'two limits',
      {
        name: 'two-limit-cost',
        limits: [
          { capacity: 5, refill: 1 },
          { capacity: 50, refill: 1 },
        ],
      },
    ],
  ] as [string, LimitOptions][])(
    'queries the store for a higher cost from %s, whose retryAfter is unknown',
    (_, policy) => {
      run('take', take(policy, 3));
      expect(run('take', take(policy, 4)).answer.allowed).toBe(false);
      expect(run('take', take(policy, 4)).calls).toBe(0);
      expect(run('take', take(policy, 5)).calls).toBe(1);
    },
  );

  it('queries the store for a higher cost from a blocked bucket, whose balance is unknown', () => {
    const policy = { ...BUCKET, name: 'blocked-cost', block: '30s' as const };
    run('take', take(policy, 3));
    expect(run('take', take(policy, 4)).answer.retryAfter).toBe(30_000);
    expect(run('take', take(policy, 4)).calls).toBe(0);
    expect(run('take', take(policy, 5)).calls).toBe(1);
  });

  it('queries the store for a blocking policy if the cached denial is from a non-blocking one', () => {
    const blocking: LimitOptions = { ...BUCKET, block: '1m' };
    exhaust();
    const strict = run('take', take(blocking));
    expect([strict.calls, strict.answer.retryAfter]).toEqual([1, 60_000]);
    for (const policy of [BUCKET, blocking]) {
      const { calls, answer } = run('take', take(policy));
      expect([calls, answer.retryAfter]).toEqual([0, 60_000]);
    }
  });

  it('queries the store for a cost above the capacity, and does not cache its denial', () => {
    exhaust();
    const { answer, calls } = run('take', take(BUCKET, 6));
    expect(calls).toBe(1);
    expect(answer.retryAfter).toBe(Infinity);
    expect(run('take', take(BUCKET, 6)).calls).toBe(1); // a refund by another process must not go unnoticed
  });

  it('queries the store if `maxWait` covers the wait, and denies a shorter `maxWait`', async () => {
    exhaust();
    expect(run('take', take(BUCKET, 1, 999)).calls).toBe(0);
    await clock.advance(500);
    expect(run('take', take(BUCKET, 1, 499)).calls).toBe(0);
    const { answer, calls } = run('take', take(BUCKET, 1, 500));
    expect(calls).toBe(1);
    expect(answer).toMatchObject({ allowed: true, delay: 500 });
    // The reservation postpones retryAfter.
    expect(run('take', take(BUCKET)).answer).toMatchObject({ source: 'store', retryAfter: 1500 });
  });

  it('caches the denial of a request with `maxWait` for the missing time', async () => {
    exhaust();
    run('put', take(BUCKET, 0.001)); // invalidates the cache
    const { answer } = run('take', take(BUCKET, 3, 100));
    expect(answer).toMatchObject({ allowed: false, retryAfter: 2999 });
    await clock.advance(500);
    expect(run('take', take(BUCKET, 3, 2498))).toMatchObject({ calls: 0, answer: { retryAfter: 2499 } });
    expect(run('take', take(BUCKET, 3, 2499))).toMatchObject({ calls: 1, answer: { allowed: true, delay: 2499 } });
  });

  it('notices a reset by another process within a second', async () => {
    const policy: LimitOptions = { ...WINDOW, block: '1d' };
    exhaust(policy);
    memory.run({ verb: 'reset', takes: [take(policy, 0)] });
    await clock.advance(999);
    expect(run('take', take(policy)).answer.allowed).toBe(false);
    await clock.advance(1);
    expect(run('take', take(policy)).answer.allowed).toBe(true);
  });

  it.each(['put', 'cancel', 'reset', 'unblock', 'charge', 'block', 'takeUpTo'] as const)(
    'invalidates the cache on %s',
    (verb) => {
      exhaust();
      const other = take(WINDOW, 1, 0, 'other');
      run('take', [take(BUCKET), other]);
      expect(run('take', [take(BUCKET), other]).calls).toBe(0);
      run(verb, take(BUCKET, 1), { actAt: [clock.now() + 1], duration: 5000 });
      expect(run('take', [take(BUCKET), other]).calls).toBe(1);
      expect(run('take', take(BUCKET)).calls).toBe(1);
    },
  );

  it('invalidates the cache on replacePolicy, for the old and the new policy', () => {
    const larger = { ...BUCKET, capacity: 6 };
    exhaust();
    exhaust(larger);
    expect(run('take', take(larger)).calls).toBe(0);
    run('replace', take(BUCKET, 0), { to: parsePolicy(larger, 'test'), strategy: 'reset' });
    expect(run('take', take(larger)).answer.allowed).toBe(true);
    expect(run('take', take(BUCKET)).answer.allowed).toBe(true);
  });

  it('invalidates the cache when a smaller request is admitted, which postpones retryAfter', async () => {
    run('take', take(BUCKET, 4));
    expect(run('take', take(BUCKET, 3)).answer.retryAfter).toBe(2000);
    expect(run('take', take(BUCKET, 1)).answer.allowed).toBe(true);
    expect(run('take', take(BUCKET, 3)).answer.retryAfter).toBe(3000);
  });

  it('keeps cached denials of other buckets', () => {
    exhaust(BUCKET, 'a');
    exhaust(BUCKET, 'b');
    run('take', [take(BUCKET, 1, 0, 'a'), take(WINDOW, 1, 0, 'a')]);
    run('take', [take(BUCKET, 1, 0, 'b'), take(WINDOW, 1, 0, 'b')]);
    run('reset', take(BUCKET, 0, 0, 'a'));
    expect(run('take', take(BUCKET, 1, 0, 'b')).calls).toBe(0);
    expect(run('take', [take(BUCKET, 1, 0, 'b'), take(WINDOW, 1, 0, 'b')]).calls).toBe(0);
  });

  it('does not cache a denial that was in flight during a refund', async () => {
    exhaust();
    run('reset', take(BUCKET, 0));
    exhaust(); // the last request is denied, and the denial is cached
    run('put', take(BUCKET, 0.001));
    let open = () => {};
    counting.gate = new Promise((resolve) => (open = resolve));
    const denied = cache.run({ verb: 'take', takes: [take(BUCKET)] });
    const refunded = cache.run({ verb: 'put', takes: [take(BUCKET, 2)] });
    open();
    expect((await denied).allowed).toBe(false);
    await refunded;
    counting.gate = undefined;
    expect(run('take', take(BUCKET)).answer.allowed).toBe(true);
  });

  it('counts the times of a slow denial from its arrival, because it may have been decided just before', async () => {
    memory.run({ verb: 'charge', takes: [take(BUCKET, 5)] });
    let open = () => {};
    counting.gate = new Promise((resolve) => (open = resolve));
    const denied = cache.run({ verb: 'take', takes: [take(BUCKET)] });
    await clock.advance(40);
    open();
    expect(await denied).toMatchObject({ allowed: false, retryAfter: 1000, source: 'store' });
    counting.gate = undefined;
    expect(run('take', take(BUCKET)).answer).toMatchObject({ retryAfter: 1000, source: 'cache' });
    await clock.advance(959);
    expect(run('take', take(BUCKET)).answer).toMatchObject({ retryAfter: 41, source: 'cache' });
    await clock.advance(1);
    expect(run('take', take(BUCKET)).answer).toMatchObject({ allowed: true, source: 'store' });
  });

  it('does not extend a denial when the clock steps back', () => {
    exhaust();
    clock.set(clock.now() - 3_600_000);
    expect(run('take', take(BUCKET)).calls).toBe(1);
  });

  it('queries the store for estimates', () => {
    exhaust();
    expect(run('estimate', take(BUCKET)).calls).toBe(1);
    expect(run('take', take(BUCKET)).calls).toBe(0);
  });

  it('bounds the number of cached denials', () => {
    const policy = { name: 'small', capacity: 1, refill: 1 };
    for (let i = 0; i < 10_100; i++) exhaust(policy, `key-${i}`);
    for (let i = 0; i < 10_100; i++) run('take', [take(policy, 1, 0, `key-${i}`), take(BUCKET, 1, 0, `${i}`)]);
    expect(cache.size).toBe(20_000);
    expect(run('take', take(policy, 1, 0, 'key-10099')).calls).toBe(0);
    expect(run('take', take(policy, 1, 0, 'key-0')).calls).toBe(1);
  });
});

describe('DenyCacheStore in front of Redis', () => {
  closeBuckets();
  let server: RedisServer;
  let client: Redis;
  beforeEach(async () => {
    server ??= await startRedis();
    client ??= new Redis(server.url);
  });
  afterAll(async () => {
    client.disconnect();
    await server.kill();
  });

  async function calls(): Promise<number> {
    const stats = await client.info('commandstats');
    return [...stats.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  const flood = { name: 'flood', capacity: 10, refill: 1, duration: 10 };

  it('sends one of a hundred denied requests to Redis', async () => {
    const { buckets } = await openBuckets({ store: { redis: server.url }, failure: { mode: 'closed', timeout: '5s' } });
    const bucket = buckets.bucket(flood, 'client');
    for (let i = 0; i < 10; i++) expect(await bucket.tryConsume()).toBe(true);
    const before = await calls();
    const sources: string[] = [];
    for (let i = 0; i < 100; i++) {
      const { allowed, source } = await bucket.decide();
      expect(allowed).toBe(false);
      sources.push(source);
    }
    expect((await calls()) - before).toBe(1);
    expect(sources.filter((source) => source === 'cache')).toHaveLength(99);
  });

  it('sends all denied requests to Redis with `denyCache: false`', async () => {
    const { buckets } = await openBuckets({
      store: { redis: server.url, denyCache: false },
      failure: { mode: 'closed', timeout: '5s' },
    });
    const bucket = buckets.bucket(flood, 'other');
    for (let i = 0; i < 10; i++) await bucket.decide();
    const before = await calls();
    for (let i = 0; i < 20; i++) expect(await bucket.decide()).toMatchObject({ allowed: false, source: 'store' });
    expect((await calls()) - before).toBe(20);
  });
});
