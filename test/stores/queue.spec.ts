import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { RedisStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import type { LimitNumbers } from '../../src/core/limit.js';
import { type LimitOptions, parsePolicy } from '../../src/core/policy.js';
import { redisKey } from '../../src/stores/redis/redis-key.js';
import { checkProperty, fractions, pauses, policies, Subject, storeKinds, subject } from '../support/store-subject.js';

const { memory, redis, client } = storeKinds();
const ms = { unit: 'milliseconds' } as const;

interface Reservation {
  readonly n: number;
  readonly actAt: number;
}

describe.each([memory, redis])('the queue of a bucket: $name', (kind) => {
  /** A bucket with an exhausted balance, and `count` queued requests for `n` each. */
  const queueOf = async (count: number, options: LimitOptions, n = 1) => {
    const clock = new FakeClock();
    const bucket = new Subject(kind.make(clock), clock, parsePolicy({ name: 'queue', ...options }, 'queue'));
    while ((await bucket.take(1)).allowed);
    const before = await bucket.estimate(n);
    const queued: Reservation[] = [];
    for (let i = 0; i < count; i++) queued.push({ n, actAt: (await bucket.take(n, Infinity)).actAt?.[0] as number });
    const leave = async (...places: number[]) => {
      for (const place of places) await bucket.run('cancel', n, { actAt: [queued[place - 1].actAt] });
    };
    const nextDelay = async () => (await bucket.estimate(n)).retryAfter;
    return { bucket, before, leave, nextDelay };
  };
  const onePerSecond = { capacity: 1, refill: 1 };

  const orders: [string, number[]][] = [
    ['front to back', [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]],
    ['back to front', [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]],
    ['from the middle', [5, 6, 4, 7, 3, 8, 2, 9, 1, 10]],
  ];
  const limits: [string, LimitOptions, number][] = [
    ['a bucket', onePerSecond, 1],
    ['a bucket whose costs take fractions of a millisecond', { capacity: 1, refill: 7, duration: 3, ...ms }, 0.001],
    ['a bucket with interval refill', { capacity: 3, refill: 2, duration: 10, refillMode: 'intervally' }, 1],
    ['a window', { maxRequest: 3, duration: 10 }, 1],
    ['a window with slots', { maxRequest: 200, duration: 10 }, 50],
    [
      'a slow and a fast bucket',
      {
        limits: [
          { capacity: 2, refill: 1, duration: 60 },
          { capacity: 200, refill: 20, duration: 1 },
        ],
      },
      1,
    ],
    ['a bucket and a window', { limits: [onePerSecond, { maxRequest: 100, duration: 60 }] }, 1],
  ];
  it.each(limits.flatMap(([name, options, n]) => orders.map(([order, places]) => [name, order, options, n, places])))(
    'of %s is empty when all requests have left it %s',
    async (_, __, options, n, places) => {
      const { bucket, before, leave } = await queueOf(10, options as LimitOptions, n as number);
      await leave(...(places as number[]));
      expect(await bucket.estimate(n as number)).toEqual(before);
    },
  );

  it('is empty when some requests have acted and the others have left', async () => {
    const { bucket, leave, nextDelay } = await queueOf(10, { capacity: 10, refill: 1 });
    await leave(1, 2, 3, 4);
    bucket.advance(5000);
    await leave(6, 7, 8, 9, 10);
    // Of the five tokens that have come back, the fifth request has taken one.
    expect((await bucket.run('estimate')).balance).toBe(4);
    expect(await nextDelay()).toBe(0);
  });

  it('keeps the instants of the remaining requests, and puts the next one behind the last', async () => {
    const { bucket, leave, nextDelay } = await queueOf(10, onePerSecond);
    await leave(1, 2, 3, 4, 6, 7, 8, 9, 10);
    expect(await nextDelay()).toBe(6000);
    bucket.advance(4000);
    expect(await nextDelay()).toBe(2000);
    await leave(5);
    expect(await nextDelay()).toBe(0);
  });

  // A token takes 1⅔ ms, so the requests act after 2, 4, 5 and 7 ms. That the second has its token already after 3⅓ ms
  // is unknown without the first: from 4 to 5 ms, less than a token comes back.
  it.each([
    ['as from an empty bucket if only the last one leaves', [4], 7],
    ['as from an empty bucket if one remains', [1, 2, 4], 7],
    ['a millisecond later if two remain that are closer to each other than a token takes', [1, 4], 8],
  ])('places the next request %s', async (_, places, delay) => {
    const { bucket, leave, nextDelay } = await queueOf(4, { capacity: 1, refill: 3, duration: 5, ...ms });
    await leave(...places);
    expect(await nextDelay()).toBe(delay);
    bucket.advance(delay - 1);
    expect((await bucket.take(1)).allowed).toBe(false);
    bucket.advance(1);
    expect((await bucket.take(1)).allowed).toBe(true);
  });

  it.each([
    ['a bucket', { capacity: 10, refill: 1 }],
    ['a window', { maxRequest: 10, duration: 10 }],
  ])('does not let a request overtake the last remaining one of %s', async (_, options) => {
    const { bucket } = await queueOf(0, options);
    const first = await bucket.take(10, Infinity);
    const last = await bucket.take(1, Infinity);
    await bucket.run('cancel', 10, { actAt: first.actAt });
    bucket.advance(last.delay - 1);
    expect(await bucket.take(1)).toMatchObject({ allowed: false, remaining: 0, retryAfter: 1 });
    expect((await bucket.run('takeUpTo', 10)).taken).toBe(0);
    bucket.advance(1);
    expect((await bucket.take(9)).allowed).toBe(true);
    expect((await bucket.take(1)).allowed).toBe(false);
  });

  it('remembers charges and refunds that are made while requests are queued', async () => {
    const { bucket, leave } = await queueOf(3, { capacity: 10, refill: 1 });
    await bucket.run('charge', 5);
    await bucket.run('put', 2);
    await leave(1, 2, 3);
    expect((await bucket.run('estimate')).balance).toBe(-3);
  });

  it.each([
    ['front to back', false],
    ['back to front', true],
  ])('of many more requests than it keeps apart is empty when all have left it %s', async (_, reversed) => {
    const { leave, nextDelay } = await queueOf(500, onePerSecond);
    const places = Array.from({ length: 500 }, (_, i) => i + 1);
    await leave(...(reversed ? places.reverse() : places));
    expect(await nextDelay()).toBe(1000);
  });

  it('of many requests forgets those that have acted soon after the others have left it', async () => {
    const { bucket, leave, nextDelay } = await queueOf(500, onePerSecond);
    bucket.advance(200_000);
    await leave(...Array.from({ length: 300 }, (_, i) => i + 201));
    const delay = await nextDelay();
    // Neighbors were merged into groups of at most eight.
    expect(delay).toBeLessThanOrEqual(9000);
    bucket.advance(delay);
    expect((await bucket.take(1)).allowed).toBe(true);
    expect(await nextDelay()).toBe(1000);
  });

  const queueing = fc.record({
    pause: fc.oneof(fc.constant(0), fc.constant(0), pauses),
    n: fractions,
    maxWait: fc.constantFrom(0, 20, Infinity, Infinity),
    verb: fc.constantFrom('take', 'take', 'take', 'take', 'take', 'take', 'charge', 'put'),
  });
  const leaving = fc.record({ pause: fc.constantFrom(0, 0, 0, 0, 1, 5, 30), which: fc.nat() });
  const scripts = fc.tuple(
    policies,
    fc.array(queueing, { minLength: 4, maxLength: 15, size: 'max' }),
    fc.array(leaving, { minLength: 15, maxLength: 15 }),
    fractions,
  );

  it('leaves nothing of requests that have left, whatever the order, costs and limits', () =>
    checkProperty(kind.runs, 0.1, scripts, async ([options, steps, leaves], cover) => {
      const bucket = subject(kind, options);
      /** The same bucket, for requests that never queue and take when they act. */
      const reference = subject(kind, options);
      let queued: Reservation[] = [];
      let acted = 0;
      const advance = async (pause: number) => {
        const now = bucket.clock.now() + pause;
        for (const { actAt, n } of queued.filter((reservation) => reservation.actAt <= now)) {
          reference.clock.set(actAt);
          await reference.run('charge', n);
          acted++;
        }
        queued = queued.filter(({ actAt }) => actAt > now);
        bucket.clock.set(now);
        reference.clock.set(now);
      };
      for (const { pause, n, maxWait, verb } of steps) {
        await advance(pause);
        // The debts include a charge in full, even if the bucket is full before the next request acts.
        if (verb === 'charge' && queued.length > 0) continue;
        const { allowed, delay, actAt } = await bucket.run(verb as 'take', n, { maxWait });
        if (delay > 0) queued.push({ n, actAt: actAt?.[0] as number });
        else if (allowed) await reference.run(verb === 'take' ? 'charge' : (verb as 'put'), n);
      }
      let left = 0;
      for (const { pause, which } of leaves) {
        await advance(pause);
        if (queued.length === 0) break;
        const [{ n, actAt }] = queued.splice(which % queued.length, 1);
        await bucket.run('cancel', n, { actAt: [actAt] });
        left = queued.length === 0 ? left + 1 : left;
      }
      if (left === 0) return;
      cover();
      const [one, other] = [await bucket.run('estimate'), await reference.run('estimate')];
      for (const [i, { remaining }] of one.limits.entries()) {
        // Instants are rounded up: each request that acted may keep the rest of a millisecond.
        const rest = acted * gainPerMs((options.limits as LimitNumbers[])[i]);
        expect(remaining).toBeGreaterThanOrEqual(other.limits[i].remaining - 1e-9);
        expect(remaining).toBeLessThanOrEqual(other.limits[i].remaining + rest + 1e-9);
      }
    }));

  /*
   * Requests act at whole milliseconds, so two may be closer to each other than the tokens of the second take, by less
   * than a millisecond. A bucket that only the remaining ones use may then be that much worse than empty.
   */
  it('places the next request behind the last remaining one, no later than in an empty bucket or without the others', () =>
    checkProperty(kind.runs, 0.05, scripts, async ([options, steps, leaves, n], cover) => {
      const bucket = subject(kind, options);
      const acted: Reservation[] = [];
      let queued: Reservation[] = [];
      const advance = (pause: number) => {
        bucket.advance(pause);
        acted.push(...queued.filter(({ actAt }) => actAt <= bucket.clock.now()));
        queued = queued.filter(({ actAt }) => actAt > bucket.clock.now());
      };
      for (const step of steps) {
        advance(step.pause);
        const { allowed, delay, actAt } = await bucket.take(step.n, step.maxWait);
        if (delay > 0) queued.push({ n: step.n, actAt: actAt?.[0] as number });
        else if (allowed) acted.push({ n: step.n, actAt: bucket.clock.now() });
      }
      let before = await bucket.estimate(n);
      if (before.retryAfter === Infinity) return;
      for (const { pause, which } of leaves) {
        advance(pause);
        if (queued.length === 0) break;
        const [canceled] = queued.splice(which % queued.length, 1);
        await bucket.run('cancel', canceled.n, { actAt: [canceled.actAt] });
        const after = await bucket.estimate(n);
        expect(after.retryAfter).toBeLessThanOrEqual(Math.max(0, before.retryAfter - pause));
        before = after;
        if (queued.length === 0) continue;
        cover();
        const last = Math.max(...queued.map(({ actAt }) => actAt)) - bucket.clock.now();
        const gains = (options.limits as LimitNumbers[]).map((limit) => timeToGain(limit, n));
        expect(after.retryAfter).toBeGreaterThanOrEqual(last);
        const delay = await delayBehind([...acted, ...queued], options, n);
        expect(after.retryAfter).toBeLessThanOrEqual(last + Math.max(...gains, delay));
      }
    }));
});

it('a queue of more requests than are kept apart is the same in memory and in Redis', () =>
  checkProperty(
    8,
    0.1,
    fc.tuple(
      fc.constantFrom<LimitOptions>(
        { capacity: 3, refill: 3, duration: 7, ...ms },
        { maxRequest: 4, duration: 9, ...ms },
        { capacity: 3, refill: 1, duration: 5, refillMode: 'intervally', ...ms },
        {
          limits: [
            { capacity: 4, refill: 5, duration: 3, ...ms },
            { maxRequest: 5, duration: 10, ...ms },
            { capacity: 5, refill: 1, duration: 3, ...ms },
          ],
        },
      ),
      fc.array(fc.record({ pause: fc.constantFrom(0, 0, 0, 0, 0, 1), n: fc.constantFrom(1, 1, 2, 2.5) }), {
        minLength: 250,
        maxLength: 300,
        size: 'max',
      }),
      fc.infiniteStream(fc.nat()),
    ),
    async ([options, steps, order], cover) => {
      const stores = [memory, redis].map((kind) => subject(kind, options));
      let queued: Reservation[] = [];
      const both = async (
        verb: 'take' | 'cancel',
        n: number,
        more: { maxWait?: number; actAt?: readonly number[] },
      ) => {
        const [one, other] = [await stores[0].run(verb, n, more), await stores[1].run(verb, n, more)];
        expect(other).toEqual(one);
        return one;
      };
      for (const { pause, n } of steps) {
        for (const { clock } of stores) clock.set(clock.now() + pause);
        const { delay, actAt } = await both('take', n, { maxWait: Infinity });
        if (delay > 0) queued.push({ n, actAt: actAt?.[0] as number });
      }
      queued = queued.filter(({ actAt }) => actAt > stores[0].clock.now());
      if (new Set(queued.map(({ actAt }) => actAt)).size > 128) cover();
      while (queued.length > 0) {
        const [{ n, actAt }] = queued.splice((order.next().value as number) % queued.length, 1);
        await both('cancel', n, { actAt: [actAt] });
      }
    },
  ));

describe('a queue in Redis', () => {
  /** A bucket with two queued requests. */
  const stored = async (name: string) => {
    const clock = new FakeClock();
    const store = new RedisStore({ client, clock, prefix: `queue-${process.pid}:` });
    const bucket = new Subject(store, clock, parsePolicy({ name, capacity: 1, refill: 1 }, name));
    const key = redisKey(`queue-${process.pid}:`, bucket.key, bucket.policy);
    await bucket.take(1);
    const plain = await client.getBuffer(key);
    const queued = [await bucket.take(1, Infinity), await bucket.take(1, Infinity)];
    const value = (await client.getBuffer(key)) as Buffer;
    return { bucket, key, plain, queued, value, close: () => store.close() };
  };

  it('takes no space of buckets without a queue', async () => {
    const { bucket, key, plain, queued, value, close } = await stored('without');
    const numbers = 2 + 1 + 1 + 2 * 2;
    expect([plain?.length, value.length]).toEqual([2 * 6, numbers * 8 + 1]);
    for (const { actAt } of queued) await bucket.run('cancel', 1, { actAt });
    expect((await client.getBuffer(key))?.length).toBe(2 * 6);
    await close();
  });

  /** Without the last numbers, but with the flags. */
  const without = (value: Buffer, count: number) =>
    Buffer.concat([value.subarray(0, -1 - 8 * count), value.subarray(-1)]);

  it.each([
    ['a missing reservation', (value: Buffer) => without(value, 2)],
    ['half a reservation', (value: Buffer) => without(value, 1)],
    ['no reservations', (value: Buffer) => without(value, 4)],
  ])('with %s is an unreadable bucket', async (name, cut) => {
    const { bucket, key, value, close } = await stored(name.replaceAll(' ', '-'));
    await client.set(key, cut(value));
    await expect(bucket.take(1)).rejects.toThrow('its value is not a bucket');
    await close();
  });
});

/** The delay of `n` tokens after the last of these requests, in a bucket that no others use and that queues none. */
async function delayBehind(requests: readonly Reservation[], options: LimitOptions, n: number): Promise<number> {
  const bucket = subject(memory, options);
  for (const request of requests) {
    bucket.clock.set(request.actAt);
    await bucket.run('charge', request.n);
  }
  return (await bucket.estimate(n)).retryAfter;
}

/** Milliseconds in which an empty limit gains `n` tokens; for a window its length. */
function timeToGain({ capacity, refill = 0, duration = 1, refillMode }: LimitNumbers, n: number): number {
  if (capacity === undefined) return duration;
  const periods = n / Math.min(refill, refillMode === 'intervally' ? capacity : Infinity);
  return Math.ceil(refillMode === 'intervally' ? Math.ceil(periods - 1e-9) * duration : periods * duration - 1e-9);
}

/** Tokens that a limit gains in each millisecond; 0 if it does not gain some in each. */
function gainPerMs({ refill = 0, duration = 1, refillMode }: LimitNumbers): number {
  return refillMode === 'intervally' && duration > 1 ? 0 : refill / duration;
}
