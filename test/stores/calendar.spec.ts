import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { BucketService, type CalendarPeriod, RedisStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import type { CalendarPeriods } from '../../src/core/algorithms/calendar-periods.js';
import { type LimitOptions, type Policy, parsePolicy } from '../../src/core/policy.js';
import { periodName } from '../support/calendar.js';
import { checkProperty, fractions, Subject, storeKinds, subject } from '../support/store-subject.js';

const { memory, redis, client } = storeKinds();

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Times at which clocks are set forward or back, or a month, a year or a leap day ends. */
const TIMES: [zone: string, time: string][] = [
  ['UTC', '2024-02-29T23:00Z'],
  ['UTC', '2024-12-31T22:00Z'],
  ['Europe/Berlin', '2024-03-30T22:00Z'],
  ['Europe/Berlin', '2024-10-27T22:00Z'],
  ['America/New_York', '2024-12-31T23:30Z'],
  ['America/Sao_Paulo', '2018-11-04T02:00Z'],
  ['America/Sao_Paulo', '2018-02-18T01:00Z'],
  ['America/Havana', '2023-11-05T03:30Z'],
  ['America/St_Johns', '2006-10-29T02:00Z'],
  ['Africa/Cairo', '2023-04-27T21:00Z'],
  ['Africa/Cairo', '2023-10-26T20:00Z'],
  ['Asia/Beirut', '2022-10-29T20:00Z'],
  ['Asia/Kathmandu', '2024-04-30T18:00Z'],
  ['Pacific/Apia', '2011-12-30T09:00Z'],
  ['Pacific/Chatham', '2024-09-28T09:30Z'],
];

const quotas = fc.record({
  capacity: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.constantFrom(0.5, 2.5)),
  calendar: fc.constantFrom<CalendarPeriod>('day', 'day', 'week', 'month', 'year'),
});

const steps = fc.array(
  fc.record({
    pause: fc.oneof(
      fc.constantFrom(0, 0, 1, HOUR / 2 - 1, HOUR / 2, HOUR),
      fc.integer({ min: 0, max: 40 }).map((days) => days * DAY),
    ),
    n: fractions,
    verb: fc.constantFrom('take', 'take', 'take', 'takeUpTo', 'charge', 'put'),
    maxWait: fc.constantFrom(0, 0, Infinity),
  }),
  { minLength: 10, maxLength: 25, size: 'max' },
);

/** The usage of each period, by the name of the period. Deliberately independent of the library's arithmetic. */
class ExactQuota {
  private readonly used = new Map<string, number>();

  constructor(
    private readonly capacity: number,
    private readonly nameOf: (at: number) => string,
  ) {}

  balance(at: number): number {
    return (this.capacity - (this.used.get(this.nameOf(at)) ?? 0)) / 1000;
  }

  change(amount: number, at: number): void {
    const name = this.nameOf(at);
    this.used.set(name, Math.max(0, (this.used.get(name) ?? 0) + amount));
  }
}

describe.each([memory, redis])('a calendar quota: $name', (kind) => {
  it('admits what its capacity allows in each period, in any time zone', () => {
    let boundaries = 0;
    return checkProperty(
      kind.runs / 4,
      0.3,
      fc.tuple(fc.constantFrom(...TIMES), quotas, steps),
      async ([[timeZone, time], quota, script], cover) => {
        const bucket = subject(kind, { ...quota, timeZone }, new FakeClock(Date.parse(time)));
        const nameOf = (at: number) => periodName(quota.calendar, timeZone, at);
        const exact = new ExactQuota(quota.capacity * 1000, nameOf);
        for (const { pause, n, verb, maxWait } of script) {
          const before = nameOf(bucket.clock.now());
          bucket.advance(pause);
          const now = bucket.clock.now();
          if (nameOf(now) !== before) boundaries++;
          const left = exact.balance(now);
          const answer = await bucket.run(verb as 'take', n, { maxWait });
          if (verb === 'take') {
            expect(answer.allowed).toBe(n <= left);
            expect(answer.delay).toBe(0);
          }
          const taken = {
            take: n <= left ? n : 0,
            takeUpTo: Math.max(0, Math.min(n, Math.floor(left))),
            charge: n,
            put: -n,
          };
          exact.change(Math.round(taken[verb as 'take'] * 1000), now);
          expect(answer.balance).toBeCloseTo(exact.balance(now), 9);
          if (answer.allowed) continue;
          expect(answer.retryAfter === Infinity).toBe(n > quota.capacity);
          if (n > quota.capacity) continue;
          cover();
          expect(answer.retryAfter).toBe(answer.resetAfter);
          expect(nameOf(now + answer.retryAfter - 1)).toBe(nameOf(now));
          expect(nameOf(now + answer.retryAfter)).not.toBe(nameOf(now));
        }
      },
    ).then((completed) => expect(boundaries).toBeGreaterThan(2 * completed));
  });

  /** A bucket whose process has other time zone data: a day ends `late` ms later. */
  function withData(bucket: Subject, late: number): Subject {
    const [limit] = bucket.policy.limits;
    const known = limit.calendar as CalendarPeriods;
    const endAt = (at: number) => known.endAt(at - late) + late;
    const pairAt = (at: number) => known.pairAt(at - late).map((instant) => instant + late);
    const policy = { ...bucket.policy, limits: [{ ...limit, calendar: { endAt, pairAt } }] };
    return new Subject(bucket.store, bucket.clock, policy as unknown as Policy);
  }

  it('is full at the instant that the first use in a period has stored, whatever other processes know', async () => {
    const bucket = subject(kind, { capacity: 2, calendar: 'day' });
    const other = withData(bucket, -60);
    await bucket.take(2);
    bucket.advance(50);
    expect(await other.take(1)).toMatchObject({ allowed: false, retryAfter: 50 });
    bucket.advance(50);
    expect(await other.take(1)).toMatchObject({ allowed: true, remaining: 1, resetAfter: DAY - 60 });
  });

  it('refunds nothing of what queued requests have reserved', async () => {
    const fast = { capacity: 2, refill: 1, unit: 'milliseconds' } as const;
    const bucket = subject(kind, { limits: [fast, { capacity: 30, calendar: 'day' }] });
    await bucket.take(1);
    expect(await bucket.take(2, Infinity)).toMatchObject({ allowed: true, delay: 1 });
    await bucket.run('put', 1.5);
    expect((await bucket.run('estimate')).limits[1]).toMatchObject({ remaining: 28 });
  });

  it('keeps the usage of a later period', async () => {
    const bucket = subject(kind, { capacity: 2, calendar: 'day' });
    const other = withData(bucket, 60);
    await other.take(2);
    bucket.advance(100);
    expect(await bucket.take(1)).toMatchObject({ allowed: false, retryAfter: 60 });
    bucket.advance(60);
    expect(await bucket.take(1)).toMatchObject({ allowed: true, resetAfter: DAY - 60 });
  });

  it('counts in the period of a clock that was ahead, for at most one period', async () => {
    const bucket = subject(kind, { capacity: 2, calendar: 'day' });
    bucket.advance(100);
    await bucket.take(2);
    bucket.advance(-100);
    expect(await bucket.take(1)).toMatchObject({ allowed: false, retryAfter: DAY + 100 });
    bucket.advance(-3 * DAY);
    expect(await bucket.take(1)).toMatchObject({ allowed: true, remaining: 1 });
  });

  it('decides for a bucket whose clock is ahead by more than a period', async () => {
    const bucket = subject(kind, { capacity: 2, calendar: 'day' });
    bucket.advance(1.9 * DAY);
    await bucket.run('block', 0, { duration: 2 * DAY });
    await bucket.run('unblock');
    await bucket.take(1);
    bucket.advance(-1.9 * DAY);
    expect(await bucket.take(1)).toMatchObject({ allowed: true, remaining: 0, resetAfter: 2 * DAY + 100 });
  });

  it('is refunded the takes of its period only', async () => {
    const bucket = subject(kind, { capacity: 5, calendar: 'day' });
    const handle = new BucketService(bucket.store).bucket({ name: 'property', capacity: 5, calendar: 'day' }, 'key');
    const decision = await handle.decide(3);
    await handle.put(1, { decision });
    expect(await handle.available()).toBe(3);
    bucket.advance(100);
    await handle.decide(4);
    await handle.put(2, { decision });
    expect(await handle.available()).toBe(1);
  });

  it.each([
    ['reset', 10],
    ['as-is', 4],
    ['proportionally', 8],
    ['additive', 9],
  ] as const)('carries over %s to another calendar', async (strategy, left) => {
    const bucket = subject(kind, { capacity: 5, calendar: 'day' });
    await bucket.take(1);
    const to = parsePolicy({ capacity: 10, calendar: 'month' }, 'property');
    await bucket.run('replace', 0, { to, strategy });
    const moved = new Subject(bucket.store, bucket.clock, to);
    expect(await moved.estimate(0)).toMatchObject({ balance: left, resetAfter: left === 10 ? 0 : 100 });
  });

  it('carries nothing over to a limit of another kind', async () => {
    const bucket = subject(kind, { capacity: 5, calendar: 'day' });
    await bucket.take(1);
    const to = parsePolicy({ capacity: 10, refill: 1 }, 'property');
    await bucket.run('replace', 0, { to, strategy: 'as-is' });
    expect((await new Subject(bucket.store, bucket.clock, to).estimate(0)).balance).toBe(10);
  });
});

describe('a calendar quota in Redis', () => {
  const options: LimitOptions = { name: 'quota', capacity: 5, calendar: 'day' };

  it('is stored as three numbers of six bytes, until its period ends', async () => {
    const bucket = subject(redis, options, new FakeClock(Date.now()));
    await bucket.take(1);
    const stored = await redis.stored?.(bucket);
    expect(stored?.length).toBe(18);
  });

  it('sends the periods that the clock of the server needs, whatever the clock of the process', async () => {
    const own = client.duplicate();
    const store = new RedisStore({ client: own, prefix: `calendar-${process.pid}:` });
    const policy = parsePolicy(options, 'quota');
    const run = (key: string) => store.run({ verb: 'take', takes: [{ policy, key, amount: 1000, maxWait: 0 }] });
    const now = Date.now;
    const [before] = await client.time();
    try {
      Date.now = () => now() + 1000 * DAY;
      const answer = await run('first');
      expect(answer).toMatchObject({ allowed: true, remaining: 4 });
      expect(answer.resetAfter).toBeLessThanOrEqual(DAY - ((Number(before) * 1000) % DAY));
      expect((await run('first')).remaining).toBe(3);
    } finally {
      Date.now = now;
      store.close();
      own.disconnect();
    }
  });

  it('fails a request for buckets whose clocks differ by more than two periods', async () => {
    const bucket = subject(redis, options);
    const other = new Subject(bucket.store, bucket.clock, parsePolicy({ ...options, name: 'other' }, 'other'));
    bucket.advance(1.9 * DAY);
    await bucket.take(1);
    bucket.advance(-1.9 * DAY);
    const takes = [bucket, other].map(({ policy, key }) => ({ policy, key, amount: 1000, maxWait: 0 }));
    await expect(bucket.store.run({ verb: 'take', takes })).rejects.toThrow(
      'Request cannot be decided: the clocks of its buckets differ by more than two periods of the calendar',
    );
    expect((await other.take(5)).allowed).toBe(true);
  });
});
