import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { BucketService, type NamedLimit } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { type AnsweredLimit, plainAnswer } from '../../src/core/answer.js';
import type { StoreAnswer } from '../../src/core/decision.js';
import { type LimitOptions, parsePolicy } from '../../src/core/policy.js';
import type { StoreRequest, Verb } from '../../src/core/request.js';
import { defineResolvedPolicy } from '../../src/core/resolved-policy.js';
import type { RateLimitStore } from '../../src/stores/rate-limit.store.js';
import { ResilientStore } from '../../src/stores/remote/resilient.store.js';
import { FarStore } from '../support/far-store.js';
import {
  checkProperty,
  fractions,
  pauses,
  START,
  Subject,
  smallLimits,
  storeKinds,
  subject,
} from '../support/store-subject.js';

const { memory, redis } = storeKinds();

/** A soft limit of 2 of each kind, and when it is full again after 4 were used at once. */
const KINDS: [kind: string, limit: NamedLimit, fullAfter: number][] = [
  ['bucket', { capacity: 2, refill: 1, duration: 10 }, 40_000],
  ['bucket with a refill at intervals', { capacity: 2, refill: 2, duration: 10, refillMode: 'intervally' }, 20_000],
  ['window', { maxRequest: 2, duration: 10 }, 10_000],
  ['calendar quota', { capacity: 2, calendar: 'day' }, 86_400_000],
];

describe.each([memory, redis])('A soft limit in $name', (kind) => {
  const clock = () => new FakeClock(Date.parse('2024-05-01T00:00Z'));

  describe.each(KINDS)('of kind %s', (_, limit, fullAfter) => {
    it('admits all requests, names itself once it is exceeded, and owes at most one capacity', async () => {
      const bucket = subject(kind, { name: 'soft', ...limit, soft: true }, clock());
      const answers: StoreAnswer[] = [];
      for (let i = 0; i < 6; i++) answers.push(await bucket.take(1));
      expect(answers.every(({ allowed, retryAfter, delay }) => allowed && retryAfter === 0 && delay === 0)).toBe(true);
      expect(answers.map(({ balance }) => balance)).toEqual([1, 0, -1, -2, -2, -2]);
      expect(answers.map(({ exceeded }) => exceeded)).toEqual([undefined, undefined, ...new Array(4).fill(['soft'])]);
      expect(answers[5]).toMatchObject({ policy: 'soft', limit: 2, remaining: 0, resetAfter: fullAfter });
      bucket.advance(fullAfter);
      const { balance, exceeded } = await bucket.take(1);
      expect([balance, exceeded]).toEqual([1, undefined]);
    });

    it('admits a cost above its capacity, counts charges to the same bound, and refunds', async () => {
      const bucket = subject(kind, { name: 'soft', ...limit, soft: true }, clock());
      expect(await bucket.take(100)).toMatchObject({ allowed: true, taken: 100, balance: -2, exceeded: ['soft'] });
      expect(await bucket.run('charge', 5)).toMatchObject({ balance: -2, retryAfter: 0, exceeded: ['soft'] });
      expect(await bucket.run('put', 3)).toMatchObject({ balance: 1 });
      expect(await bucket.run('takeUpTo', 7)).toMatchObject({ taken: 7, balance: -2 });
    });

    it('keeps a bucket of its own beside the limit of the same numbers', async () => {
      const buckets = new BucketService(kind.make(clock()));
      await buckets.bucket({ name: 'same', ...limit }, 'key').charge(2);
      expect(await buckets.bucket({ name: 'same', ...limit, soft: true }, 'key').available()).toBe(2);
    });
  });

  it('is not charged if another limit denies, and does not speak for the policy', async () => {
    const limits = [
      { name: 'included', capacity: 1, refill: 1, unit: 'hours', soft: true },
      { name: 'most', capacity: 3, refill: 1, unit: 'minutes' },
    ] as const;
    const bucket = subject(kind, { name: 'plan', limits, block: '10s' });
    await bucket.take(1);
    expect(await bucket.take(1)).toMatchObject({
      ...{ allowed: true, policy: 'plan/most', limit: 3, remaining: 1, balance: 1, exceeded: ['plan/included'] },
      limits: [{ name: 'plan/included', remaining: 0, retryAfter: 0 }, { remaining: 1 }],
    });
    const denied = await bucket.take(2);
    expect(denied).toMatchObject({ allowed: false, policy: 'plan/most', retryAfter: 60_000 });
    expect(denied.limits).toMatchObject([{ resetAfter: 2 * 3_600_000 }, { resetAfter: 2 * 60_000 }]);
  });

  it('does not delay a request that waits for another limit', async () => {
    const limits = [
      { name: 'soft', capacity: 2, refill: 1, unit: 'hours', soft: true },
      { name: 'rate', capacity: 1, refill: 1 },
    ] as const;
    const bucket = subject(kind, { name: 'queue', limits });
    const delays: number[] = [];
    for (let i = 0; i < 5; i++) delays.push((await bucket.take(1, 10_000)).delay);
    expect(delays).toEqual([0, 1000, 2000, 3000, 4000]);
    expect((await bucket.run('charge')).limits).toMatchObject([{ resetAfter: 4 * 3_600_000 }, { resetAfter: 5000 }]);
  });

  it('returns what a settled request has not used', async () => {
    const store = kind.make(new FakeClock(START));
    const policy = parsePolicy({ name: 'settled', capacity: 10, refill: 1, unit: 'hours', soft: true }, 'settled');
    const take = { policy, key: 'key', maxWait: 0, mark: 7 };
    await store.run({ verb: 'take', takes: [{ ...take, amount: 12_000 }] });
    const refund = { verb: 'put', takes: [{ ...take, amount: 5000 }] } as const;
    expect(await store.run(refund)).toMatchObject({ balance: 3 });
    expect(await store.run(refund)).toMatchObject({ balance: 3 });
  });

  it('keeps its debt with the numbers of each request', async () => {
    const buckets = new BucketService(kind.make(new FakeClock(START)));
    const small = buckets.bucket({ name: 'soft', capacity: 10, refill: 1, unit: 'hours', soft: true }, 'key');
    await small.decide(15);
    const large = await small.replacePolicy({ capacity: 100, refill: 1, unit: 'hours', soft: true }, 'as-is');
    expect(await large.available()).toBe(-5);
  });
});

describe('A soft limit', () => {
  it.each<[LimitOptions, string]>([
    [{ concurrency: 2, soft: true }, '`soft` must be omitted for a concurrency limit'],
    [{ capacity: 5, refill: 1, lease: 2, soft: true }, '`lease` must be omitted for a soft token bucket'],
    [{ limits: [{ capacity: 5, refill: 1 }], soft: true }, '`soft` must be omitted beside `limits`'],
    [{ limits: [{ capacity: 5, refill: 1, soft: 'yes' as never }] }, 'limits[0]: `soft` must be true or false'],
  ])('rejects %j', (options, message) => {
    expect(() => parsePolicy(options, 'policy')).toThrow(message);
  });

  it('of 0, resolved per request, is an error, and one of Infinity is none', () => {
    const limits = (capacity: number) => [
      { capacity, refill: 1, soft: true },
      { capacity: 5, refill: 1 },
    ];
    expect(() => defineResolvedPolicy({ limits: limits(0) }, 'policy')).toThrow('a soft limit must be larger than 0');
    expect(defineResolvedPolicy({ limits: limits(Infinity) }, 'policy')).toMatchObject({ limits: [{ size: 5 }] });
  });

  it('decides nothing while the store is unavailable', async () => {
    const clock = new FakeClock(START);
    const far = new FarStore({ clock });
    const store = new ResilientStore(far, { mode: 'local', timeout: 1000, instances: 2 });
    const local = new Subject(store, clock, parsePolicy({ name: 'soft', capacity: 4, refill: 1, soft: true }, ''));
    await local.take(7);
    far.unavailable = true;
    const source = 'fallback';
    expect(await local.take(1)).toMatchObject({ allowed: true, balance: -2, exceeded: ['soft'], source });
    store.close();
  });

  it('may be false', () => {
    const options = { capacity: 5, refill: 1 };
    expect(parsePolicy({ ...options, soft: false }, 'policy')).toEqual(parsePolicy(options, 'policy'));
  });

  it('leaves decisions of other policies as they are', async () => {
    const bucket = new BucketService(memory.make(new FakeClock(START))).bucket({ capacity: 1, refill: 1 }, 'key');
    expect(Object.keys(await bucket.decide())).not.toContain('exceeded');
  });
});

const VERBS: readonly Verb[] = ['take', 'take', 'take', 'take', 'estimate', 'charge', 'takeUpTo', 'put', 'reset'];
const steps = fc.array(
  fc.oneof(
    {
      arbitrary: fc.record({ verb: fc.constantFrom(...VERBS), n: fractions, pause: pauses, maxWait: waits() }),
      weight: 9,
    },
    {
      arbitrary: fc.record({ verb: fc.constant<Verb>('cancel'), n: fractions, pause: pauses, maxWait: waits() }),
      weight: 2,
    },
  ),
  { minLength: 15, maxLength: 40, size: 'max' },
);
type Step = { readonly verb: Verb; readonly n: number; readonly pause: number; readonly maxWait: number };

function waits(): fc.Arbitrary<number> {
  return fc.constantFrom(0, 0, 30, Infinity);
}

const mixedLimits = fc
  .tuple(fc.array(smallLimits, { minLength: 1, maxLength: 2 }), smallLimits, fc.nat(2))
  .map(([hard, soft, place]) => ({ hard, limits: hard.toSpliced(place, 0, { ...soft, soft: true }) }));

type Recorded = StoreAnswer & { readonly balances: readonly number[] };

/** The answers of a store to a script, whose cancellations are of the last takes that wait. */
async function answersOf(store: RateLimitStore, clock: FakeClock, options: LimitOptions, script: readonly Step[]) {
  const policy = parsePolicy(options, 'policy');
  const answers: Recorded[] = [];
  const queued: StoreRequest[] = [];
  for (const { verb, n, pause, maxWait } of script) {
    clock.set(clock.now() + pause);
    const take = { policy, key: 'key', amount: Math.round(n * 1000), maxWait };
    const request = verb === 'cancel' ? queued.pop() : { verb, takes: [take] };
    if (!request) continue;
    const answer = await store.run(request);
    answers.push({ ...plainAnswer(answer), balances: answer.limits.map((limit) => (limit as AnsweredLimit).balance) });
    if (verb === 'take' && answer.delay > 0) queued.push({ verb: 'cancel', takes: [take], actAt: answer.actAt });
  }
  return answers;
}

describe('Soft limits beside others', () => {
  it.each([memory, redis])('leave these as if they were alone, and owe at most one capacity, in $name', (kind) =>
    checkProperty(
      kind.runs / 2,
      0.2,
      fc.tuple(mixedLimits, fc.nat(60), steps),
      async ([policy, block, script], cover) => {
        const run = (limits: readonly NamedLimit[]) => {
          const clock = new FakeClock(START);
          return answersOf(kind.make(clock), clock, { name: 'law', limits, block: block || undefined }, script);
        };
        const [mixed, alone] = [await run(policy.limits), await run(policy.hard)];
        const isSoft = policy.limits.map(({ soft }) => soft === true);
        const numbers = ({ limits, allowed, delay, retryAfter, remaining, limit, balance, taken }: StoreAnswer) => ({
          ...{ allowed, delay, retryAfter, remaining, limit, balance, taken },
          limits: limits.map(({ name: _, ...state }) => state),
        });
        const hardOf = (answer: StoreAnswer) => ({ ...answer, limits: answer.limits.filter((_, i) => !isSoft[i]) });
        expect(mixed.map((answer) => numbers(hardOf(answer)))).toEqual(alone.map(numbers));
        const place = isSoft.indexOf(true);
        for (const { allowed, limits, balances, exceeded, policy: name } of mixed) {
          const { limit, name: soft } = limits[place];
          expect(balances[place]).toBeGreaterThanOrEqual(-limit);
          expect(exceeded).toEqual(allowed && balances[place] < 0 ? [soft] : undefined);
          expect(name).not.toBe(soft);
        }
        if (mixed.some(({ exceeded }) => exceeded) && mixed.some(({ allowed }) => !allowed)) cover();
      },
    ),
  );
});
