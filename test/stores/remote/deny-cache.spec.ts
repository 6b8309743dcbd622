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

/** A store in memory that counts what it is asked. */
class Counted extends StoreWrapper {
  asked = 0;
  /** What it holds back its answers for. */
  gate: Promise<void> | undefined;

  override run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer> {
    this.asked++;
    const answer = this.store.run(request);
    return this.gate ? this.gate.then(() => answer) : answer;
  }
}

describe('the cache of refusals', () => {
  let clock: FakeClock;
  let memory: MemoryStore;
  let counted: Counted;
  let cache: DenyCacheStore;
  beforeEach(() => {
    clock = new FakeClock();
    memory = new MemoryStore({ clock });
    counted = new Counted(memory);
    cache = new DenyCacheStore(counted);
  });
  afterEach(() => cache.close());

  const run = (verb: StoreRequest['verb'], takes: Take | Take[], more: Partial<StoreRequest> = {}) => {
    const before = counted.asked;
    const answer = cache.run({ verb, takes: [takes].flat(), ...more }) as StoreAnswer;
    return { answer, asked: counted.asked - before };
  };
  const exhaust = (policy = BUCKET as LimitOptions, key = 'key') => {
    while (run('take', take(policy, 1, 0, key)).answer.allowed);
  };

  it.each([BUCKET, WINDOW])(
    'counts the times of a refusal down to the millisecond, asks again each second, and when it is over',
    async (policy) => {
      exhaust(policy);
      const { answer: first } = run('take', take(policy)); // remembered
      expect(first.source).toBe('cache');
      let age = 0;
      for (let passed = 0; passed < first.retryAfter; ) {
        const step = Math.min(137, first.retryAfter - passed - 1);
        if (step === 0) break;
        await clock.advance(step);
        passed += step;
        age += step;
        const { answer, asked } = run('take', take(policy));
        expect({ asked, source: answer.source, allowed: answer.allowed }).toEqual(
          age < 1000 ? { asked: 0, source: 'cache', allowed: false } : { asked: 1, source: 'store', allowed: false },
        );
        if (asked > 0) age = 0;
        const real = toDecision(memory.run({ verb: 'estimate', takes: [take(policy)] }));
        expect([answer.retryAfter, answer.resetAfter, toDecision(answer).limits]).toEqual([
          real.retryAfter,
          real.resetAfter,
          real.limits.map((limit) => ({ ...limit, remaining: answer.remaining })),
        ]);
      }
      expect(run('take', take(policy)).answer.allowed).toBe(false); // one millisecond before
      await clock.advance(1);
      expect(run('take', take(policy))).toMatchObject({ asked: 1, answer: { allowed: true, source: 'store' } });
    },
  );

  it('refuses what costs as much, or more with its own promise, and asks for what costs less', () => {
    run('take', take(BUCKET, 3));
    expect(run('take', take(BUCKET, 4)).answer.retryAfter).toBe(2000);
    expect(run('take', take(BUCKET, 4)).asked).toBe(0);
    expect(run('take', take(BUCKET, 5))).toMatchObject({ asked: 0, answer: { retryAfter: 3000 } });
    expect(run('take', take(BUCKET, 3))).toMatchObject({ asked: 1, answer: { retryAfter: 1000 } });
  });

  it.each([
    ['a window', { name: 'dearer-window', maxRequest: 5, duration: 10 }],
    ['a bucket that is refilled by the period', { ...BUCKET, name: 'dearer-intervally', refillMode: 'intervally' }],
    [
      'two limits',
      {
        name: 'dearer-two',
        limits: [
          { capacity: 5, refill: 1 },
          { capacity: 50, refill: 1 },
        ],
      },
    ],
  ] as [string, LimitOptions][])('asks for what costs more of %s, whose promise it does not know', (_, policy) => {
    run('take', take(policy, 3));
    expect(run('take', take(policy, 4)).answer.allowed).toBe(false);
    expect(run('take', take(policy, 4)).asked).toBe(0);
    expect(run('take', take(policy, 5)).asked).toBe(1);
  });

  it('asks for what costs more of a blocked bucket, whose balance it does not know', () => {
    const policy = { ...BUCKET, name: 'dearer-blocked', block: '30s' as const };
    run('take', take(policy, 3));
    expect(run('take', take(policy, 4)).answer.retryAfter).toBe(30_000);
    expect(run('take', take(policy, 4)).asked).toBe(0);
    expect(run('take', take(policy, 5)).asked).toBe(1);
  });

  it('asks by a policy that blocks what one of the same numbers was refused, so that it does block', () => {
    const blocking: LimitOptions = { ...BUCKET, block: '1m' };
    exhaust();
    const strict = run('take', take(blocking));
    expect([strict.asked, strict.answer.retryAfter]).toEqual([1, 60_000]);
    for (const policy of [BUCKET, blocking]) {
      const { asked, answer } = run('take', take(policy));
      expect([asked, answer.retryAfter]).toEqual([0, 60_000]);
    }
  });

  it('asks for what can never pass, so that never is not told as not yet', () => {
    exhaust();
    const { answer, asked } = run('take', take(BUCKET, 6));
    expect(asked).toBe(1);
    expect(answer.retryAfter).toBe(Infinity);
    expect(run('take', take(BUCKET, 6)).asked).toBe(1); // a gift from elsewhere would not be seen
  });

  it('asks for who would wait as long as it takes, and refuses the less patient', async () => {
    exhaust();
    expect(run('take', take(BUCKET, 1, 999)).asked).toBe(0);
    await clock.advance(500);
    expect(run('take', take(BUCKET, 1, 499)).asked).toBe(0);
    const { answer, asked } = run('take', take(BUCKET, 1, 500));
    expect(asked).toBe(1);
    expect(answer).toMatchObject({ allowed: true, delay: 500 });
    // The place in line makes the promise of the refused a later one.
    expect(run('take', take(BUCKET)).answer).toMatchObject({ source: 'store', retryAfter: 1500 });
  });

  it('remembers a refusal of the impatient for the time that they lack', async () => {
    exhaust();
    run('put', take(BUCKET, 0.001)); // forgets
    const { answer } = run('take', take(BUCKET, 3, 100));
    expect(answer).toMatchObject({ allowed: false, retryAfter: 2999 });
    await clock.advance(500);
    expect(run('take', take(BUCKET, 3, 2498))).toMatchObject({ asked: 0, answer: { retryAfter: 2499 } });
    expect(run('take', take(BUCKET, 3, 2499))).toMatchObject({ asked: 1, answer: { allowed: true, delay: 2499 } });
  });

  it('sees within a second what another process has given back, reset or unblocked', async () => {
    const policy: LimitOptions = { ...WINDOW, block: '1d' };
    exhaust(policy);
    memory.run({ verb: 'reset', takes: [take(policy, 0)] });
    await clock.advance(999);
    expect(run('take', take(policy)).answer.allowed).toBe(false);
    await clock.advance(1);
    expect(run('take', take(policy)).answer.allowed).toBe(true);
  });

  it.each(['put', 'cancel', 'reset', 'unblock', 'charge', 'block', 'takeUpTo'] as const)('forgets on %s', (verb) => {
    exhaust();
    const other = take(WINDOW, 1, 0, 'other');
    run('take', [take(BUCKET), other]);
    expect(run('take', [take(BUCKET), other]).asked).toBe(0);
    run(verb, take(BUCKET, 1), { actAt: [clock.now() + 1], duration: 5000 });
    expect(run('take', [take(BUCKET), other]).asked).toBe(1);
    expect(run('take', take(BUCKET)).asked).toBe(1);
  });

  it('forgets on replacePolicy, for the old numbers and the new', () => {
    const larger = { ...BUCKET, capacity: 6 };
    exhaust();
    exhaust(larger);
    expect(run('take', take(larger)).asked).toBe(0);
    run('replace', take(BUCKET, 0), { to: parsePolicy(larger, 'test'), strategy: 'reset' });
    expect(run('take', take(larger)).answer.allowed).toBe(true);
    expect(run('take', take(BUCKET)).answer.allowed).toBe(true);
  });

  it('forgets when something smaller has passed, which makes the promise a later one', async () => {
    run('take', take(BUCKET, 4));
    expect(run('take', take(BUCKET, 3)).answer.retryAfter).toBe(2000);
    expect(run('take', take(BUCKET, 1)).answer.allowed).toBe(true);
    expect(run('take', take(BUCKET, 3)).answer.retryAfter).toBe(3000);
  });

  it('keeps what is refused of other buckets', () => {
    exhaust(BUCKET, 'a');
    exhaust(BUCKET, 'b');
    run('take', [take(BUCKET, 1, 0, 'a'), take(WINDOW, 1, 0, 'a')]);
    run('take', [take(BUCKET, 1, 0, 'b'), take(WINDOW, 1, 0, 'b')]);
    run('reset', take(BUCKET, 0, 0, 'a'));
    expect(run('take', take(BUCKET, 1, 0, 'b')).asked).toBe(0);
    expect(run('take', [take(BUCKET, 1, 0, 'b'), take(WINDOW, 1, 0, 'b')]).asked).toBe(0);
  });

  it('does not remember a refusal that was under way while tokens were given back', async () => {
    exhaust();
    run('reset', take(BUCKET, 0));
    exhaust(); // the last one is refused and remembered
    run('put', take(BUCKET, 0.001));
    let open = () => {};
    counted.gate = new Promise((resolve) => (open = resolve));
    const refused = cache.run({ verb: 'take', takes: [take(BUCKET)] });
    const given = cache.run({ verb: 'put', takes: [take(BUCKET, 2)] });
    open();
    expect((await refused).allowed).toBe(false);
    await given;
    counted.gate = undefined;
    expect(run('take', take(BUCKET)).answer.allowed).toBe(true);
  });

  it('tells the times of a late refusal from its answer on, since it may have been decided as late', async () => {
    memory.run({ verb: 'charge', takes: [take(BUCKET, 5)] });
    let open = () => {};
    counted.gate = new Promise((resolve) => (open = resolve));
    const asked = cache.run({ verb: 'take', takes: [take(BUCKET)] });
    await clock.advance(40);
    open();
    expect(await asked).toMatchObject({ allowed: false, retryAfter: 1000, source: 'store' });
    counted.gate = undefined;
    expect(run('take', take(BUCKET)).answer).toMatchObject({ retryAfter: 1000, source: 'cache' });
    await clock.advance(959);
    expect(run('take', take(BUCKET)).answer).toMatchObject({ retryAfter: 41, source: 'cache' });
    await clock.advance(1);
    expect(run('take', take(BUCKET)).answer).toMatchObject({ allowed: true, source: 'store' });
  });

  it('does not lock a key longer because the clock steps back', () => {
    exhaust();
    clock.set(clock.now() - 3_600_000);
    expect(run('take', take(BUCKET)).asked).toBe(1);
  });

  it('asks for estimates', () => {
    exhaust();
    expect(run('estimate', take(BUCKET)).asked).toBe(1);
    expect(run('take', take(BUCKET)).asked).toBe(0);
  });

  it('is bounded', () => {
    const policy = { name: 'small', capacity: 1, refill: 1 };
    for (let i = 0; i < 10_100; i++) exhaust(policy, `key-${i}`);
    for (let i = 0; i < 10_100; i++) run('take', [take(policy, 1, 0, `key-${i}`), take(BUCKET, 1, 0, `${i}`)]);
    expect(cache.size).toBe(20_000);
    expect(run('take', take(policy, 1, 0, 'key-10099')).asked).toBe(0);
    expect(run('take', take(policy, 1, 0, 'key-0')).asked).toBe(1);
  });
});

describe('a flood, in front of a real Redis', () => {
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

  it('reaches Redis with one refusal of a hundred', async () => {
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

  it('reaches it with all of them if the cache is switched off', async () => {
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
