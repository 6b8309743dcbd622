import { describe, expect, it } from '@jest/globals';
import { TokenBucket } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';

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

  it('accepts rates down to a millionth of a token per second', async () => {
    const { bucket, clock } = make(1, 0.000_001);
    bucket.allow(0.001);
    await clock.advance(999_999);
    expect(bucket.available).toBeLessThan(1);
    await clock.advance(1);
    expect(bucket.available).toBe(1);
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
    [Infinity, 1, 'capacity must be a number with at most three decimals, got Infinity'],
    [1, 0, 'tokensPerSecond must be positive, got 0'],
    [1, -2, 'tokensPerSecond must be positive, got -2'],
    [1, Number.NaN, 'tokensPerSecond must be positive, got NaN'],
    [1, 1e-7, 'tokensPerSecond must be positive, got 1e-7'],
    [1, Infinity, 'tokensPerSecond must be at most 9e9, got Infinity'],
    [1e10, 1 / 3, 'capacity must be at most 4503599 at this rate, got 10000000000'],
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
    [Infinity, 'tokens must be a multiple of 0.001, got Infinity'],
  ])('rejects a cost of %p: %s', async (n, message) => {
    const { bucket } = make(5, 1);
    expect(() => bucket.allow(n)).toThrow(new RangeError(message));
    expect(() => bucket.tryConsume(n)).toThrow(new RangeError(message));
    await expect(bucket.wait(n)).rejects.toThrow(new RangeError(message));
    expect(bucket.available).toBe(5);
  });
});
