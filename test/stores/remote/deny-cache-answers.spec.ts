import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { FakeClock } from 'nest-rate-limit/testing';
import { toDecision } from '../../../src/core/answer.js';
import { type LimitOptions, type Policy, parsePolicy } from '../../../src/core/policy.js';
import type { StoreRequest } from '../../../src/core/request.js';
import { DenyCacheStore } from '../../../src/stores/remote/deny-cache.store.js';
import {
  checkProperty,
  fractions,
  largeWindowLimits,
  pauses,
  smallLimits,
  sometimesSoft,
  storeKinds,
} from '../../support/store-subject.js';

const { memory, redis } = storeKinds();

/** A memory store, and a store behind a deny cache, with one clock; the same requests go to both. */
class Twins {
  readonly clock = new FakeClock();
  readonly plain = memory.make(this.clock);
  readonly cache: DenyCacheStore;

  constructor(kind: typeof memory) {
    this.cache = new DenyCacheStore(kind.make(this.clock));
  }

  /** Sends a request to both, and returns the source of the answer; fails if the answers differ in anything else. */
  async run(request: StoreRequest): Promise<string> {
    const { source, ...cached } = toDecision(await this.cache.run(request));
    const answer = await this.plain.run(request);
    const { source: _, ...expected } = toDecision(answer);
    // Nothing is available from the limits of a blocked bucket; which of them is the furthest in debt is not known.
    const isHeld = answer.limits.some((limit) => 'heldFor' in limit);
    expect(cached).toEqual(isHeld && source === 'cache' ? { ...expected, limit: cached.limit } : expected);
    return source;
  }

  take(policy: Policy, n = 1, maxWait = 0): Promise<string> {
    return this.run({ verb: 'take', takes: [{ policy, key: 'key', amount: Math.round(n * 1000), maxWait }] });
  }
}

const ms = { unit: 'milliseconds' } as const;
const policy = (options: LimitOptions) => parsePolicy(options, 'test');

describe.each([memory, redis])('answers of the deny cache in front of $name', (kind) => {
  it('contain the tokens that have come back since the denial', async () => {
    const twins = new Twins(kind);
    const bucket = policy({ capacity: 5, refill: 1 });
    await twins.take(bucket, 3);
    expect(await steps(twins, bucket, 9, 100, 4)).toEqual([0]);
  });

  it('contain the tokens of interval refills, each at its boundary', async () => {
    const twins = new Twins(kind);
    const bucket = policy({ capacity: 5, refill: 1.5, duration: 300, refillMode: 'intervally', ...ms });
    await twins.take(bucket, 5);
    twins.clock.set(twins.clock.now() + 70);
    expect(await steps(twins, bucket, 95, 10, 5)).toEqual([0]);
  });

  it('are the same until the period of a calendar quota ends, for a larger cost, too', async () => {
    const twins = new Twins(kind);
    twins.clock.set(twins.clock.now() - 500);
    const quota = policy({ capacity: 5, calendar: 'day' });
    await twins.take(quota, 3);
    expect(await twins.take(quota, 3)).toBe('store');
    expect(await twins.take(quota, 4)).toBe('cache');
    expect(await twins.take(quota, 6)).toBe('store');
    expect(await twins.take(quota, 2.5)).toBe('store');
    expect(await steps(twins, quota, 6, 100, 4)).toEqual([5]);
  });

  it('are those of the store again when an admission has left the window, though too few have', async () => {
    const twins = new Twins(kind);
    const window = policy({ maxRequest: 3, duration: 900, ...ms });
    await steps(twins, window, 3, 100, 1);
    // At the start, and when the first and second admission leave.
    expect(await steps(twins, window, 75, 10, 3)).toEqual([0, 60, 70]);
  });

  it('are those of the store again when a block has ended, though too few tokens are there', async () => {
    const twins = new Twins(kind);
    const blocking = policy({ capacity: 2, refill: 1, block: '500ms' });
    await twins.take(blocking, 2);
    expect(await steps(twins, blocking, 10, 100, 2)).toEqual([0, 5]);
  });

  const window = { maxRequest: 1, duration: 600, ...ms };
  it.each([
    ['a window', [window], 0, [0, 3, 6]],
    ['a window and a bucket', [window, { capacity: 5, refill: 1 }], 0, [0, 3, 6]],
    ['a window that was blocked before', [window], 60, [0, 2, 5]],
  ])('are those of the store again when the block of %s has ended, though not its queue', async (...row) => {
    const [_, limits, blockedFor, asked] = row;
    const twins = new Twins(kind);
    const blocking = policy({ limits, block: 150 });
    const takes = [{ policy: blocking, key: 'key', amount: 1000, maxWait: 0 }];
    const start = twins.clock.now();
    for (const maxWait of [0, 600, 1200]) await twins.take(blocking, 1, maxWait);
    twins.clock.set(start + 700);
    await twins.run({ verb: 'put', takes });
    if (blockedFor > 0) await twins.run({ verb: 'block', takes, duration: blockedFor });
    expect(await steps(twins, blocking, 7, 50, 1)).toEqual(asked);
    // Without the queue, only the latest block is left.
    await twins.run({ verb: 'cancel', takes, actAt: [start + 1200] });
    expect(await twins.take(blocking)).toBe('store');
  });

  it('are those of the store if a request with a shorter `maxWait` would start a block', async () => {
    const twins = new Twins(kind);
    const [slow, blocking] = [
      policy({ name: 'slow', capacity: 1, refill: 1, duration: 10 }),
      policy({ name: 'blocking', capacity: 1, refill: 1, block: '1m' }),
    ];
    const both = (maxWait: number) =>
      twins.run({
        verb: 'take',
        takes: [
          { policy: slow, key: 'key', amount: 1000, maxWait: 0 },
          { policy: blocking, key: 'key', amount: 1000, maxWait },
        ],
      });
    const sources: string[] = [];
    for (const maxWait of [0, 2000, 2000, 500, 500]) sources.push(await both(maxWait));
    expect(sources).toEqual(['store', 'store', 'cache', 'store', 'cache']);
  });

  it.each([
    ['', 1],
    [' for ever', 2],
  ])('are those of the store after another request was denied%s and blocked one of the buckets', async (_, n) => {
    const twins = new Twins(kind);
    const slow = policy({ name: 'slow', capacity: 1, refill: 1, duration: 10 });
    const [plain, blocking] = [undefined, '1m' as const].map((block) =>
      policy({ name: 'shared', capacity: 1, refill: 1, block }),
    );
    const take = { key: 'key', amount: 500, maxWait: 0 };
    const both = () =>
      twins.run({
        verb: 'take',
        takes: [
          { ...take, policy: slow },
          { ...take, policy: plain },
        ],
      });
    expect([await both(), await both(), await both(), await both()]).toEqual(['store', 'store', 'store', 'cache']);
    expect(await twins.take(blocking, n)).toBe('store');
    expect([await both(), await both()]).toEqual(['store', 'cache']);
  });

  const limitSets = fc.array(
    sometimesSoft(fc.oneof({ arbitrary: smallLimits, weight: 5 }, { arbitrary: largeWindowLimits, weight: 1 })),
    { minLength: 1, maxLength: 3 },
  );
  const verbs = fc.constantFrom<StoreRequest['verb'][]>(
    ...Array<'take'>(24).fill('take'),
    ...(['estimate', 'charge', 'put', 'takeUpTo', 'cancel', 'block', 'unblock', 'reset'] as const),
  );
  const requests = fc.record({
    pause: fc.oneof(fc.constant(0), fc.constant(0), fc.constant(0), fc.constantFrom(1, 2, 3), pauses),
    verb: verbs,
    n: fractions,
    maxWait: fc.constantFrom(0, 0, 0, 5, 20),
    buckets: fc.constantFrom('p', 'p', 'p', 'q', 'pq'),
    which: fc.nat(30),
  });

  it('are those of a store without a cache', () =>
    checkProperty(
      kind.runs,
      0.15,
      fc.tuple(
        limitSets,
        fc.array(fc.option(fc.integer({ min: 1, max: 50 }), { nil: undefined }), { minLength: 2, maxLength: 2 }),
        fc.array(requests, { minLength: 20, maxLength: 50, size: 'max' }),
      ),
      async ([limits, blocks, steps], cover) => {
        const twins = new Twins(kind);
        const policies = {
          p: policy({ name: 'p', limits, block: blocks[0] }),
          q: policy({ name: 'q', limits, block: blocks[1] }),
        };
        const reservations: StoreRequest[] = [];
        for (const { pause, verb, n, maxWait, buckets, which } of steps) {
          twins.clock.set(twins.clock.now() + pause);
          const names = verb === 'take' ? [...buckets] : [buckets[0]];
          const takes = names.map((name) => ({
            policy: policies[name as 'p'],
            key: 'key',
            amount: Math.round(n * 1000),
            maxWait,
          }));
          if (verb === 'cancel') {
            const [reservation] = reservations.splice(which % (reservations.length || 1), 1);
            if (reservation) await twins.run(reservation);
            continue;
          }
          const now = twins.clock.now();
          const { delay, actAt } = await twins.plain.run({ verb: 'estimate', takes });
          if ((await twins.run({ verb, takes, duration: 9 })) === 'cache') cover();
          if (verb === 'take' && delay > 0 && now < (actAt?.[0] ?? 0))
            reservations.push({ verb: 'cancel', takes, actAt });
        }
      },
    ));
});

/** Sends the same take to both, `count` times with a pause behind each; returns which of them the store answered. */
async function steps(twins: Twins, bucket: Policy, count: number, pause: number, n: number): Promise<number[]> {
  const asked: number[] = [];
  for (let i = 0; i < count; i++) {
    if ((await twins.take(bucket, n)) === 'store') asked.push(i);
    twins.clock.set(twins.clock.now() + pause);
  }
  return asked;
}
