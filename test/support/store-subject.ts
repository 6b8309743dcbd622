import { afterAll } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { MemoryStore, RedisStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { toAmount } from '../../src/core/amount.js';
import { plainAnswer } from '../../src/core/answer.js';
import type { StoreAnswer } from '../../src/core/decision.js';
import type { LimitNumbers } from '../../src/core/limit.js';
import { type LimitOptions, type Policy, parsePolicy } from '../../src/core/policy.js';
import type { StoreRequest } from '../../src/core/request.js';
import type { RateLimitStore } from '../../src/stores/rate-limit.store.js';
import { redisKey } from '../../src/stores/redis/redis-key.js';
import { redisUrl } from './redis.js';

/** One bucket under test: its store, the clock that it decides by, and short words for what is asked of it. */
export class Subject {
  constructor(
    readonly store: RateLimitStore,
    readonly clock: FakeClock,
    readonly policy: Policy,
    readonly key = 'key',
  ) {}

  async ask(verb: StoreRequest['verb'], n = 0, more: Partial<StoreRequest> & { maxWait?: number } = {}) {
    const { maxWait = 0, ...rest } = more;
    const take = { policy: this.policy, key: this.key, amount: n === 0 ? 0 : (toAmount(n) as number), maxWait };
    return plainAnswer(await this.store.run({ ...rest, verb, takes: [take] }));
  }

  /** Lets time pass. Nobody sleeps here, so nobody needs to be woken. */
  pass(ms: number): void {
    this.clock.set(this.clock.now() + ms);
  }

  take(n: number, maxWait = 0): Promise<StoreAnswer> {
    return this.ask('take', n, { maxWait });
  }

  estimate(n: number): Promise<StoreAnswer> {
    return this.ask('estimate', n);
  }
}

/** A kind of store, and how many random scripts it can be asked in a few seconds. */
interface StoreKind {
  readonly name: string;
  readonly runs: number;
  make(clock: FakeClock): RateLimitStore;
  /** What the store that was made last has stored of a bucket, as it is; only where it can be seen. */
  stored?(bucket: Subject): Promise<string | undefined>;
}

/** Both stores. To be called once in a test file. */
export function storeKinds(): { memory: StoreKind; redis: StoreKind; client: Redis } {
  const client = new Redis(redisUrl());
  const opened: RateLimitStore[] = [];
  afterAll(async () => {
    for (const store of opened) store.close();
    await client.quit();
  });
  let count = 0;
  const prefix = () => `laws-${process.pid}-`;
  const kept = (store: RateLimitStore) => {
    opened.push(store);
    return store;
  };
  return {
    client,
    memory: {
      name: 'MemoryStore',
      runs: 600,
      make: (clock) => {
        const store = new MemoryStore({ clock });
        store.close(); // its sweep would keep thousands of them
        return store;
      },
    },
    redis: {
      name: 'RedisStore',
      runs: 60,
      make: (clock) => kept(new RedisStore({ client, clock, prefix: `${prefix()}${++count}:`, batch: false })),
      stored: async ({ policy, key }) => {
        const value = await client.getBuffer(redisKey(`${prefix()}${count}:`, key, policy));
        return value?.toString('latin1');
      },
    },
  };
}

/**
 * Checks `body` on random values. Fails also if its premise (a call of `held`) came up in a lesser part than `least` of
 * them. A slow machine checks fewer.
 */
export async function law<Value>(
  runs: number,
  least: number,
  values: fc.Arbitrary<Value>,
  body: (value: Value, held: () => void) => Promise<void>,
): Promise<void> {
  let run = 0;
  let premises = 0;
  await fc.assert(
    fc.asyncProperty(values, async (value) => {
      let premise = 0;
      await body(value, () => {
        premise = 1;
      });
      run++;
      premises += premise;
    }),
    { numRuns: runs, interruptAfterTimeLimit: 4000 },
  );
  if (premises < run * least) throw new Error(`The premise held in ${premises} of ${run} runs only`);
}

const milliseconds = { unit: 'milliseconds' } as const;

export const bucketLimits: fc.Arbitrary<LimitNumbers> = fc
  .record({
    capacity: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.constantFrom(0.5, 1.001, 2.5)),
    refill: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constantFrom(0.007, 0.3, 2.5, 20)),
    duration: fc.integer({ min: 1, max: 40 }),
    refillMode: fc.constantFrom('greedy' as const, 'intervally' as const),
  })
  .map((limit) => ({ ...limit, ...milliseconds }));

export const windowLimits: fc.Arbitrary<LimitNumbers> = fc
  .record({ maxRequest: fc.integer({ min: 1, max: 6 }), duration: fc.integer({ min: 1, max: 60 }) })
  .map((limit) => ({ ...limit, ...milliseconds }));

export const largeWindowLimits: fc.Arbitrary<LimitNumbers> = fc
  .record({ maxRequest: fc.integer({ min: 129, max: 200 }), duration: fc.integer({ min: 128, max: 2000 }) })
  .map((limit) => ({ ...limit, ...milliseconds }));

/** One to three limits, small enough to be reached by a few calls. */
export const policies: fc.Arbitrary<LimitOptions> = fc
  .array(fc.oneof({ arbitrary: bucketLimits, weight: 3 }, { arbitrary: windowLimits, weight: 2 }), {
    minLength: 1,
    maxLength: 3,
  })
  .map((limits) => ({ name: 'law', limits }));

export const pauses = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 0, max: 4 }),
  fc.integer({ min: 0, max: 30 }),
  fc.integer({ min: 0, max: 200 }),
);
export const costs = fc.oneof(
  { arbitrary: fc.constant(1), weight: 3 },
  { arbitrary: fc.integer({ min: 1, max: 6 }), weight: 1 },
);
export const fractions = fc.oneof(costs, fc.constantFrom(0.001, 0.5, 1.25, 2.999));

/** A subject on a new store. */
export function subject(kind: StoreKind, options: LimitOptions): Subject {
  const clock = new FakeClock();
  return new Subject(kind.make(clock), clock, parsePolicy(options, 'law'));
}

/** Something that was admitted, and the instant at which it acts. */
export interface Act {
  readonly at: number;
  readonly n: number;
}

/**
 * Fails if in some stretch of time more acted than any of the limits promises. Told in its own words: sums over all
 * pairs of acts, and none of the library's arithmetic. `slack` is how many ms of refill are allowed on top.
 */
export function expectNeverMore(limits: readonly LimitNumbers[], acts: readonly Act[], slack = 0, extra = 0): void {
  const sorted = [...acts].sort((a, b) => a.at - b.at);
  for (const limit of limits) {
    for (let first = 0; first < sorted.length; first++) {
      let sum = 0;
      for (let last = first; last < sorted.length; last++) {
        const from = sorted[first].at;
        const to = sorted[last].at;
        sum += sorted[last].n * 1000;
        const most = promised(limit, from, to, slack) + extra * (limit.capacity ?? limit.maxRequest ?? 0) * 1000;
        if (Math.round(sum) > most + 1e-6) {
          throw new Error(
            `${JSON.stringify(limit)} let ${sum / 1000} pass from ${from} to ${to} ms, promised were ${most / 1000}`,
          );
        }
      }
    }
  }
}

/** Thousandths of tokens that a limit may let pass from `from` to `to`, both included. */
function promised(limit: LimitNumbers, from: number, to: number, slack: number): number {
  const { capacity = 0, refill = 0, duration: period = 1, maxRequest = 0, refillMode } = limit;
  if (limit.capacity === undefined) return to - from < period ? maxRequest * 1000 : Infinity;
  if (refillMode === 'intervally') {
    const boundaries = Math.floor(to / period) - Math.floor(from / period);
    return (capacity + Math.min(refill, capacity) * (boundaries + (period <= slack ? 1 : 0))) * 1000;
  }
  return (capacity + (refill * (to - from + slack)) / period) * 1000;
}
