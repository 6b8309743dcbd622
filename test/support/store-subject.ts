import { randomUUID } from 'node:crypto';
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

/** A bucket under test: its store, the clock of the store, and shorthands for the store's operations. */
export class Subject {
  constructor(
    readonly store: RateLimitStore,
    readonly clock: FakeClock,
    readonly policy: Policy,
    readonly key = 'key',
  ) {}

  async run(verb: StoreRequest['verb'], n = 0, more: Partial<StoreRequest> & { maxWait?: number } = {}) {
    const { maxWait = 0, ...rest } = more;
    const take = { policy: this.policy, key: this.key, amount: n === 0 ? 0 : (toAmount(n) as number), maxWait };
    return plainAnswer(await this.store.run({ ...rest, verb, takes: [take] }));
  }

  /** Advances the clock. Synchronous, because nothing is sleeping on it. */
  advance(ms: number): void {
    this.clock.set(this.clock.now() + ms);
  }

  take(n: number, maxWait = 0): Promise<StoreAnswer> {
    return this.run('take', n, { maxWait });
  }

  estimate(n: number): Promise<StoreAnswer> {
    return this.run('estimate', n);
  }
}

/** A store implementation, and how many random runs a property can afford on it within a few seconds. */
interface StoreKind {
  readonly name: string;
  readonly runs: number;
  make(clock: FakeClock): RateLimitStore;
  /** The raw value that the most recently created store keeps for a bucket; absent if it cannot be inspected. */
  stored?(bucket: Subject): Promise<string | undefined>;
}

/** Both stores. Call once per test file. */
export function storeKinds(): { memory: StoreKind; redis: StoreKind; client: Redis } {
  const client = new Redis(redisUrl());
  const opened: RateLimitStore[] = [];
  afterAll(async () => {
    for (const store of opened) store.close();
    await client.quit();
  });
  let count = 0;
  // Test files of one worker share a process, and keys live on.
  const id = randomUUID();
  const prefix = () => `properties-${id}-`;
  const closeLater = (store: RateLimitStore) => {
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
        store.close(); // otherwise its sweep timer keeps thousands of stores alive
        return store;
      },
    },
    redis: {
      name: 'RedisStore',
      runs: 60,
      make: (clock) => closeLater(new RedisStore({ client, clock, prefix: `${prefix()}${++count}:`, batch: false })),
      stored: async ({ policy, key }) => {
        const value = await client.getBuffer(redisKey(`${prefix()}${count}:`, key, policy));
        return value?.toString('latin1');
      },
    },
  };
}

/**
 * Checks `body` against random values. Also fails if `body` called `cover` in less than the fraction `minCoverage` of
 * the runs, by more than three standard deviations: otherwise the property could hold vacuously. A slow machine completes
 * fewer runs, whose fraction varies more. Returns how many it has completed: other premises must be relative to that.
 */
export async function checkProperty<Value>(
  runs: number,
  minCoverage: number,
  values: fc.Arbitrary<Value>,
  body: (value: Value, cover: () => void) => Promise<void>,
): Promise<number> {
  let completed = 0;
  let covered = 0;
  await fc.assert(
    fc.asyncProperty(values, async (value) => {
      let reached = 0;
      await body(value, () => {
        reached = 1;
      });
      completed++;
      covered += reached;
    }),
    { numRuns: runs, interruptAfterTimeLimit: 4000 },
  );
  const deviation = Math.sqrt(completed * minCoverage * (1 - minCoverage));
  if (covered < completed * minCoverage - 3 * deviation) {
    throw new Error(
      `Only ${covered} of ${completed} runs reached the case under test, expected ${minCoverage * 100} %`,
    );
  }
  return completed;
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

export const calendarLimits: fc.Arbitrary<LimitNumbers> = fc.record({
  capacity: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 7, max: 80 }), fc.constantFrom(0.5, 2.5, 30)),
  calendar: fc.constantFrom('day', 'month'),
});

/** One limit of each kind, small enough for a few calls to exhaust it. A new algorithm is added here. */
export const smallLimits = fc.oneof(
  { arbitrary: bucketLimits, weight: 9 },
  { arbitrary: windowLimits, weight: 6 },
  { arbitrary: calendarLimits, weight: 1 },
);

/** One in five of the limits is soft. */
export function sometimesSoft(limits: fc.Arbitrary<LimitNumbers>): fc.Arbitrary<LimitNumbers> {
  const softness = fc.oneof({ arbitrary: fc.constant(false), weight: 4 }, { arbitrary: fc.constant(true), weight: 1 });
  return fc.tuple(limits, softness).map(([limit, soft]) => (soft ? { ...limit, soft } : limit));
}

/** When the clocks of properties start: shortly before the end of a day and of a month. */
export const START = new FakeClock().now() - 100;

/** The number of a period of `calendar` in UTC, in their order. */
export function periodNumber(calendar: string, at: number): number {
  const date = new Date(at);
  return calendar === 'day' ? Math.floor(at / 86_400_000) : date.getUTCFullYear() * 12 + date.getUTCMonth();
}

/** One to three of them. */
export const policies: fc.Arbitrary<LimitOptions> = fc
  .array(smallLimits, { minLength: 1, maxLength: 3 })
  .map((limits) => ({ name: 'property', limits }));

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
export const fractions = fc.oneof(
  { arbitrary: costs, weight: 3 },
  { arbitrary: fc.constantFrom(0.001, 0.5, 1.25, 2.999), weight: 2 },
  { arbitrary: fc.integer({ min: 1, max: 4000 }).map((thousandths) => thousandths / 1000), weight: 1 },
);

/** Creates a subject on a new store. */
export function subject(kind: StoreKind, options: LimitOptions, clock = new FakeClock(START)): Subject {
  return new Subject(kind.make(clock), clock, parsePolicy(options, 'property'));
}

/** An admitted request: `at` is when it may act, which is after its delay. */
export interface Admission {
  readonly at: number;
  readonly n: number;
}

/**
 * Fails if any interval contains more admissions than one of the limits allows. Deliberately independent of the
 * library's arithmetic: sums over all pairs of admissions. `slack` allows that many ms of additional refill, `extra`
 * that many additional capacities.
 */
export function expectWithinLimits(
  limits: readonly LimitNumbers[],
  admissions: readonly Admission[],
  slack = 0,
  extra = 0,
): void {
  const sorted = [...admissions].sort((a, b) => a.at - b.at);
  for (const limit of limits) {
    for (let first = 0; first < sorted.length; first++) {
      let sum = 0;
      for (let last = first; last < sorted.length; last++) {
        const from = sorted[first].at;
        const to = sorted[last].at;
        sum += sorted[last].n * 1000;
        const max = allowance(limit, from, to, slack) + extra * (limit.capacity ?? limit.maxRequest ?? 0) * 1000;
        if (Math.round(sum) > max + 1e-6) {
          throw new Error(
            `${JSON.stringify(limit)} admitted ${sum / 1000} from ${from} to ${to} ms, expected at most ${max / 1000}`,
          );
        }
      }
    }
  }
}

/** Thousandths of a token that a limit may admit from `from` to `to`, both inclusive. */
function allowance(limit: LimitNumbers, from: number, to: number, slack: number): number {
  const { capacity = 0, refill = 0, duration: period = 1, maxRequest = 0, refillMode, calendar } = limit;
  if (calendar) return capacity * 1000 * (1 + periodNumber(calendar, to) - periodNumber(calendar, from));
  if (limit.capacity === undefined) return to - from < period ? maxRequest * 1000 : Infinity;
  if (refillMode === 'intervally') {
    const boundaries = Math.floor(to / period) - Math.floor(from / period);
    return (capacity + Math.min(refill, capacity) * (boundaries + (period <= slack ? 1 : 0))) * 1000;
  }
  return (capacity + (refill * (to - from + slack)) / period) * 1000;
}
