import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { TokenBucket } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { ExactBucket } from '../support/exact-bucket.js';
import { checkProperty } from '../support/store-subject.js';

function make(capacity: number, tokensPerSecond: number) {
  const clock = new FakeClock();
  return { clock, bucket: new TokenBucket(capacity, tokensPerSecond, { clock }) };
}

describe('TokenBucket', () => {
  it('starts full, and denies a take once it is empty', () => {
    const { bucket } = make(3, 1);
    expect([bucket.allow(), bucket.allow(2), bucket.allow()]).toEqual([true, true, false]);
    expect(bucket.available).toBe(0);
  });

  it('refills with millisecond precision, up to its capacity', async () => {
    const { bucket, clock } = make(2, 4);
    bucket.allow(2);
    await clock.advance(249);
    expect(bucket.allow()).toBe(false);
    await clock.advance(1);
    expect(bucket.tryConsume()).toBe(true);
    await clock.advance(60_000);
    expect(bucket.available).toBe(2);
  });

  it('denies a take above its capacity', () => {
    const { bucket } = make(2, 1000);
    expect(bucket.allow(2.001)).toBe(false);
    expect(bucket.available).toBe(2);
  });

  it('counts in exact thousandths of a token', () => {
    const { bucket } = make(1, 1);
    for (let i = 0; i < 10; i++) expect(bucket.allow(0.1)).toBe(true);
    expect(bucket.available).toBe(0);
    expect(bucket.allow(0.001)).toBe(false);
  });

  const DAY = 86_400;
  const periods = fc.oneof(
    fc.constantFrom(1, 49, 3600, DAY, 7 * DAY, 30 * DAY, 365 * DAY),
    fc.integer({ min: 1, max: 365 * DAY }),
  );
  const steps = fc.array(
    fc.record({
      cost: fc.double({ min: 0.01, max: 1, noNaN: true }),
      early: fc.constantFrom(0, 1, 1000),
      pause: fc.constantFrom(0, 1, 12_345, 40 * DAY * 1000),
    }),
    { minLength: 5, maxLength: 20, size: 'max' },
  );

  it('refills any number of tokens per any number of seconds to the millisecond', () =>
    checkProperty(
      1000,
      0.3,
      fc.tuple(fc.integer({ min: 1, max: 1_000_000 }), periods, fc.integer({ min: 1, max: 1000 }), steps),
      async ([tokens, seconds, capacity, script], cover) => {
        const { bucket, clock } = make(capacity, tokens / seconds);
        const exact = new ExactBucket(BigInt(capacity * 1000), BigInt(tokens), BigInt(seconds), clock.now());
        for (const { cost, early, pause } of script) {
          clock.set(clock.now() + pause);
          const amount = Math.ceil(cost * capacity * 1000);
          const wait = exact.take(BigInt(amount), clock.now());
          expect(bucket.allow(amount / 1000)).toBe(wait === 0);
          if (wait === 0 || wait <= early) continue;
          if (early === 1) cover();
          clock.set(clock.now() + wait - early);
          expect(exact.take(BigInt(amount), clock.now())).toBe(early);
          expect(bucket.allow(amount / 1000)).toBe(early === 0);
        }
      },
    ));

  it('refills at any rate from one per year to a million per second with the precision of a double', () =>
    checkProperty(
      1000,
      1,
      fc.tuple(
        fc.double({ min: Math.log(1 / (365 * DAY)), max: Math.log(1e6), noNaN: true }),
        fc.constantFrom(0.5, 10, 1_000_000, 1e12),
        fc.integer({ min: 1, max: 99 }),
      ),
      async ([logarithm, capacity, share], cover) => {
        const rate = Math.exp(logarithm);
        const { bucket, clock } = make(capacity, rate);
        bucket.allow(capacity);
        const ms = Math.ceil((share * capacity * 10) / rate);
        clock.set(clock.now() + ms);
        const gained = Math.min((rate * ms) / 1000, capacity);
        expect(Math.abs(bucket.available - gained)).toBeLessThanOrEqual(1e-15 * capacity);
        cover();
      },
    ));

  it('does not add up rounding errors while it is never full', () => {
    const { bucket, clock } = make(10, 1 / 3);
    bucket.allow(10);
    let taken = 0;
    for (let i = 0; i < 30_000; i++) {
      clock.set(clock.now() + 1000);
      if (bucket.allow()) taken++;
    }
    expect([taken, bucket.available]).toEqual([10_000, 0]);
  });

  it('refills a large bucket at a low rate, however often it is read', () => {
    const { bucket, clock } = make(2e9, 1 / (365 * DAY));
    bucket.allow(2e9);
    for (let i = 0; i < 10_000; i++) {
      clock.set(clock.now() + 1);
      expect(bucket.available).toBeLessThan(0.001);
    }
    clock.set(clock.now() + 365 * DAY * 1000 - 10_000);
    expect(bucket.available).toBeCloseTo(1, 5);
  });

  it('refunds an aborted wait between others at a rate that is not a whole number', async () => {
    const { bucket, clock } = make(2, 1 / 3);
    const start = clock.now();
    const abort = new AbortController();
    await bucket.wait(2);
    const aborted = bucket.wait(2, { signal: abort.signal });
    const behind = bucket.wait(1).then(() => clock.now() - start);
    abort.abort(new Error('aborted'));
    await expect(aborted).rejects.toThrow('aborted');
    await clock.advance(9000);
    expect(await behind).toBe(9000);
    await clock.advance(2999);
    expect(bucket.allow(2)).toBe(false);
    await clock.advance(1);
    expect(bucket.allow(2)).toBe(true);
  });

  it('keeps its precision after any number of tokens', () => {
    const { bucket, clock } = make(1e9, 1e6 / 3);
    bucket.allow(1e9);
    for (let i = 0; i < 10_000; i++) {
      clock.set(clock.now() + 2_700_000);
      expect(bucket.allow(9e8)).toBe(true);
    }
    expect(bucket.available).toBe(0);
    clock.set(clock.now() + 2999);
    expect(bucket.allow(1e6)).toBe(false);
    clock.set(clock.now() + 1);
    expect(bucket.allow(1e6)).toBe(true);
  });

  it('resolves waiters in FIFO order', async () => {
    const { bucket, clock } = make(2, 10);
    const order: string[] = [];
    const wait = (name: string, n: number) =>
      bucket.wait(n).then(() => order.push(`${name} at ${clock.now() % 10_000}`));
    const all = [wait('a', 2), wait('b', 2), wait('c', 0.5), wait('d', 1)];
    expect(bucket.allow(0.001)).toBe(false);
    expect(bucket.available).toBe(-3.5);
    await clock.advance(1000);
    await Promise.all(all);
    expect(order).toEqual(['a at 0', 'b at 200', 'c at 250', 'd at 350']);
  });

  it('rejects immediately if the wait would exceed the timeout, and takes no tokens', async () => {
    const { bucket, clock } = make(1, 1);
    await bucket.wait();
    await expect(bucket.wait(1, { timeout: 999 })).rejects.toMatchObject({
      name: 'TimeoutError',
      message: 'the wait of 1000 ms would exceed the timeout of 999 ms',
    });
    await expect(bucket.wait(1, { timeout: 0 })).rejects.toMatchObject({ name: 'TimeoutError' });
    expect(clock.sleeping).toBe(0);
    expect(bucket.available).toBe(0);
    const inTime = bucket.wait(1, { timeout: '1s' });
    await clock.advance(1000);
    await inTime;
  });

  it('rejects a wait for more than its capacity immediately', async () => {
    const { bucket } = make(2, 1);
    await expect(bucket.wait(2.5)).rejects.toThrow(new RangeError('tokens must be at most the capacity of 2, got 2.5'));
    expect(bucket.available).toBe(2);
  });

  it('refunds an aborted wait, and keeps the turn of the next waiter', async () => {
    const { bucket, clock } = make(2, 1);
    await bucket.wait(2);
    const abort = new AbortController();
    const aborted = bucket.wait(2, { signal: abort.signal });
    const behind = bucket.wait(0.5).then(() => clock.now() % 10_000);
    expect(bucket.available).toBe(-2.5);
    abort.abort(new Error('aborted'));
    await expect(aborted).rejects.toThrow('aborted');
    expect(bucket.available).toBe(-1);
    await clock.advance(2500);
    expect(await behind).toBe(2500);
  });

  it.each([
    ['front to back', [0, 1, 2, 3, 4]],
    ['back to front', [4, 3, 2, 1, 0]],
    ['from the middle', [2, 1, 3, 0, 4]],
  ])('has an empty queue when all waiters have left it %s', async (_, order) => {
    const clock = new FakeClock();
    const bucket = new TokenBucket(10, 1, { clock });
    bucket.allow(10);
    const waiters = order.map(() => {
      const abort = new AbortController();
      return { abort, end: bucket.wait(3, { signal: abort.signal }) };
    });
    await clock.advance(1000);
    for (const place of order) {
      expect([bucket.allow(1), bucket.available <= 0]).toEqual([false, true]);
      waiters[place].abort.abort(new Error('left'));
      await expect(waiters[place].end).rejects.toThrow('left');
    }
    expect(bucket.available).toBe(1);
    expect(bucket.allow(1)).toBe(true);
  });

  it('refunds nothing if the signal aborts after the wait has ended, or before it begins', async () => {
    const { bucket, clock } = make(1, 1);
    const abort = new AbortController();
    await bucket.wait(1, { signal: abort.signal });
    const second = bucket.wait(1, { signal: abort.signal });
    await clock.advance(1000);
    await second;
    abort.abort(new Error('late'));
    await expect(bucket.wait(1, { signal: abort.signal })).rejects.toThrow('late');
    expect(bucket.available).toBe(0);
  });

  it('recovers within one full refill when the clock steps back', async () => {
    const { bucket, clock } = make(2, 1);
    bucket.allow(2);
    clock.set(clock.now() - 1000);
    expect(bucket.allow()).toBe(false);
    await clock.advance(2000);
    expect(bucket.allow()).toBe(true);
    clock.set(clock.now() - 86_400_000);
    expect(bucket.available).toBe(2);
  });

  it.each([
    [0, 1, 'capacity must be positive, got 0'],
    [-1, 1, 'capacity must be positive, got -1'],
    [Number.NaN, 1, 'capacity must be positive, got NaN'],
    [0.0005, 1, 'capacity must be a number with at most three decimals, got 0.0005'],
    [Infinity, 1, 'capacity must be at most 9007199254740.99, got Infinity'],
    [1, 0, 'tokensPerSecond must be positive, got 0'],
    [1, -2, 'tokensPerSecond must be positive, got -2'],
    [1, Number.NaN, 'tokensPerSecond must be positive, got NaN'],
    [1, '1' as unknown as number, 'tokensPerSecond must be positive, got 1'],
    [1, Infinity, 'tokensPerSecond must be finite, got Infinity'],
    [5e12, 1, 'capacity must be at most 4503599627370, got 5000000000000'],
  ])('rejects new TokenBucket(%p, %p): %s', (capacity, rate, message) => {
    expect(() => new TokenBucket(capacity, rate)).toThrow(new RangeError(message));
  });

  it.each([
    [0, 'tokens must be positive, got 0'],
    [-1, 'tokens must be positive, got -1'],
    [Number.NaN, 'tokens must be positive, got NaN'],
    ['1' as unknown as number, 'tokens must be positive, got 1'],
    [0.0001, 'tokens must be a multiple of 0.001, got 0.0001'],
    [1_000_000.0004, 'tokens must be a multiple of 0.001, got 1000000.0004'],
    [Infinity, 'tokens must be at most 9007199254740.99, got Infinity, which is too large to be counted exactly'],
  ])('rejects a cost of %p: %s', async (n, message) => {
    const { bucket } = make(5, 1);
    expect(() => bucket.allow(n)).toThrow(new RangeError(message));
    expect(() => bucket.tryConsume(n)).toThrow(new RangeError(message));
    await expect(bucket.wait(n)).rejects.toThrow(new RangeError(message));
    expect(bucket.available).toBe(5);
  });
});
