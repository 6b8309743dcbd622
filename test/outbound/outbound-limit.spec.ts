import { beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import fc from 'fast-check';
import { type Bucket, BucketService, RateLimitUnavailableException } from 'nest-rate-limit';
import { OutboundLimitExceededException, type OutboundOptions } from 'nest-rate-limit/outbound';
import { FakeClock } from 'nest-rate-limit/testing';
import { warnOnce } from '../../src/observe/logger.js';
import { OutboundLimit } from '../../src/outbound/outbound-limit.js';
import { FarStore } from '../support/far-store.js';

const SPACED = { name: 'supplier', capacity: 1, refill: 5 } as const;
const WINDOW = { name: 'supplier', maxRequest: 5, duration: 1, unit: 'seconds' } as const;

let clock: FakeClock;
let store: FarStore;
let buckets: BucketService;
beforeEach(() => {
  clock = new FakeClock();
  store = new FarStore({ clock });
  buckets = new BucketService(store);
});

const bucket = (policy: typeof SPACED | typeof WINDOW = SPACED) => buckets.bucket(policy, 'all');
const limitOf = (options: Partial<OutboundOptions> = {}, of: Bucket = bucket()) =>
  new OutboundLimit(of, { maxWait: '1m', ...options });
const rejection = (status: number, headers: Record<string, string> = {}) => ({ status, headers: new Headers(headers) });
const retryAfter = (seconds: number) => rejection(429, { 'retry-after': `${seconds}` });

/** Waits with each of the limits. Returns when their calls are sent, in ms from now, or the names of their errors. */
function start(limits: readonly OutboundLimit[], signal?: AbortSignal): unknown[] {
  const began = clock.now();
  const sent: unknown[] = [];
  for (const [i, limit] of limits.entries()) {
    void limit.wait(signal).then(
      () => (sent[i] = clock.now() - began),
      (error) => (sent[i] = error.name),
    );
  }
  return sent;
}

async function send(limits: readonly OutboundLimit[], ms: number): Promise<unknown[]> {
  const sent = start(limits);
  await clock.advance(ms);
  return sent;
}

const many = (count: number, limit: OutboundLimit) => Array.from({ length: count }, () => limit);

describe('OutboundLimit', () => {
  it.each([
    [SPACED, [0, 200, 400, 600, 800, 1000, 1200]],
    [WINDOW, [0, 0, 0, 0, 0, 1000, 1000]],
  ] as const)('sends calls of several processes at the turns of their common bucket: %j', async (policy, times) => {
    const processes = [limitOf({}, bucket(policy)), limitOf({}, bucket(policy))];
    const limits = times.map((_, i) => processes[i % 2]);
    expect(await send(limits, 2000)).toEqual(times);
  });

  it('rejects calls that would wait longer than `maxWait`, immediately and with 503', async () => {
    const limit = limitOf({ maxWait: '400ms' });
    const sent = start(many(3, limit));
    const error = await limit.wait().catch((reason) => reason);
    expect(error).toBeInstanceOf(OutboundLimitExceededException);
    expect(error).toBeInstanceOf(RateLimitUnavailableException);
    expect(error.getStatus()).toBe(503);
    expect(error).toMatchObject({ policy: 'supplier', retryAfter: 600 });
    await clock.advance(1000);
    expect(sent).toEqual([0, 200, 400]);
    const impatient = limitOf({ maxWait: 0 });
    expect(await send(many(2, impatient), 0)).toEqual([0, 'OutboundLimitExceededException']);
  });

  it('takes no turn for a call whose signal is aborted', async () => {
    const limit = limitOf();
    const controller = new AbortController();
    const aborted = start(many(3, limit), controller.signal);
    await clock.advance(50);
    controller.abort(new DOMException('stopped', 'AbortError'));
    await clock.advance(0);
    // The calls that were aborted leave no gap: the next turn is 200 ms after the first call.
    expect(await send(many(2, limit), 1000)).toEqual([150, 350]);
    expect(aborted).toEqual([0, 'AbortError', 'AbortError']);
  });
});

describe('OutboundLimit after a rejection by the upstream', () => {
  it('holds all calls of all processes until the upstream admits them again', async () => {
    const [one, other] = [limitOf(), limitOf()];
    await one.wait();
    await one.observe(retryAfter(2));
    expect(await send([other, one, other], 5000)).toEqual([2000, 2200, 2400]);
  });

  it('holds calls that were waiting for their turn, which is void', async () => {
    const [one, other] = [limitOf(), limitOf()];
    const sent = start([one, other, one, other]);
    await clock.advance(300);
    await other.observe(retryAfter(3));
    await clock.advance(10_000);
    // Two calls were sent before; the others queue again when the block ends.
    expect(sent).toEqual([0, 200, 3300, 3500]);
  });

  it('rejects calls whose `maxWait` ends before the block', async () => {
    const limit = limitOf({ maxWait: '1s' });
    await limit.observe(retryAfter(30));
    const error = await limit.wait().catch((reason) => reason);
    expect(error).toMatchObject({ name: 'OutboundLimitExceededException', retryAfter: 30_000 });
    expect(error.getResponse()).toMatchObject({ statusCode: 503 });
  });

  it('blocks for `maxBlock` at most', async () => {
    await limitOf().observe(retryAfter(86_400));
    expect((await bucket().estimate()).retryAfter).toBe(300_000);
    await bucket().unblock();
    await limitOf({ maxBlock: '10s' }).observe(retryAfter(86_400));
    expect((await bucket().estimate()).retryAfter).toBe(10_000);
  });

  it('never blocks longer than `maxBlock`, and never shortens a block', async () => {
    let shorter = 0;
    const step = fc.record({ wait: fc.nat(100_000), pause: fc.nat(2000) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 8 }),
        fc.integer({ min: 1, max: 60_000 }),
        async (steps, maxBlock) => {
          await bucket().reset();
          const limit = limitOf({ maxBlock });
          let end = clock.now();
          for (const { wait, pause } of steps) {
            await limit.observe(rejection(429, { 'retry-after': `${wait / 1000}` }));
            const until = clock.now() + Math.min(wait, maxBlock);
            if (until < end) shorter++;
            end = Math.max(end, until);
            const { retryAfter: left } = await bucket().estimate();
            expect(Math.abs(left - Math.max(0, end - clock.now()))).toBeLessThanOrEqual(1);
            expect(left).toBeLessThanOrEqual(maxBlock);
            await clock.advance(pause);
          }
        },
      ),
      { numRuns: 200 },
    );
    expect(shorter).toBeGreaterThan(20);
  });

  it('blocks nothing for other answers', async () => {
    for (const answer of [rejection(200, { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '9' }), rejection(429)]) {
      await limitOf().observe(answer);
    }
    expect((await bucket().estimate()).allowed).toBe(true);
  });
});

describe('OutboundLimit in a busy process', () => {
  /** Sleeps, but wakes late, as in a process that is blocked until `at`. */
  const blockUntil = (at: number) => {
    const { sleep } = clock;
    clock.sleep = async (ms, signal) => {
      const due = clock.now() + ms;
      await sleep.call(clock, due > began + 100 && due < at ? at - clock.now() : ms, signal);
    };
  };
  let began: number;
  beforeEach(() => {
    began = clock.now();
  });

  it('sends no call beside those of later turns: it takes another turn', async () => {
    blockUntil(began + 1000);
    // The turns at 200, 400, 600 and 800 ms were missed; the others had theirs after the process was blocked.
    expect(
      await send(
        Array.from({ length: 7 }, () => limitOf()),
        5000,
      ),
    ).toEqual([0, 1400, 1600, 1800, 2000, 1000, 1200]);
  });

  it('sends calls that are up to 50 ms late, or 5 % of a longer window', async () => {
    blockUntil(began + 245);
    expect(await send(many(3, limitOf()), 5000)).toEqual([0, 245, 400]);
    const slow = buckets.bucket({ name: 'slow', capacity: 1, refill: 1, duration: 10 }, 'all');
    began = clock.now();
    clock.sleep = FakeClock.prototype.sleep;
    blockUntil(began + 10_400);
    expect(await send(many(2, limitOf({}, slow)), 50_000)).toEqual([0, 10_400]);
  });

  it('sends a call late that has missed five turns', async () => {
    const { sleep } = clock;
    clock.sleep = (ms, signal) => sleep.call(clock, ms + 100, signal);
    // Turns at 200, 400, … 1000 ms, each of which is noticed 100 ms late.
    expect(await send(many(2, limitOf()), 5000)).toEqual([0, 1100]);
  });
});

describe('OutboundLimit while the store is unavailable', () => {
  const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
  beforeEach(() => {
    warn.mockClear();
    warnOnce.reset();
  });

  it('rejects calls with 503, also those that were waiting', async () => {
    const limit = limitOf();
    const sent = start(many(2, limit));
    await clock.advance(100);
    store.unavailable = true;
    await clock.advance(1000);
    expect(sent).toEqual([0, 'RateLimitUnavailableException']);
    await expect(limit.wait()).rejects.toMatchObject({ status: 503, cause: { name: 'RateLimitStoreError' } });
  });

  it('holds the calls of this process if the bucket cannot be blocked, and logs it once', async () => {
    const limit = limitOf();
    store.unavailable = true;
    await limit.observe(retryAfter(2));
    await limit.observe(retryAfter(1));
    store.unavailable = false;
    expect(warn.mock.calls.map(([message]) => message)).toEqual([
      expect.stringMatching(
        /^Policy supplier blocks calls in this process only, .* answered 429: RateLimitStoreError: /,
      ),
    ]);
    expect(await send([limit, limitOf()], 5000)).toEqual([2000, 0]);
  });
});

describe('OutboundLimit when the application closes', () => {
  it('rejects calls that wait for their turn or for the end of a block', async () => {
    const limit = limitOf();
    const sent = start(many(2, limit));
    const blocked = limitOf({}, buckets.bucket({ ...SPACED, name: 'other' }, 'all'));
    await blocked.observe(retryAfter(9));
    const held = start([blocked]);
    await clock.advance(10);
    buckets.onModuleDestroy();
    await clock.advance(0);
    expect(sent).toEqual([0, 'RateLimitUnavailableException']);
    expect(held).toEqual(['RateLimitUnavailableException']);
  });
});

describe('OutboundLimit with a concurrency limit', () => {
  const BOTH = { name: 'supplier', limits: [{ concurrency: 2 }, { capacity: 1, refill: 5 }] } as const;
  const slots = () => buckets.bucket({ name: 'supplier', concurrency: 2 }, 'all');
  const both = () => buckets.bucket(BOTH, 'all');
  const free = async (of: Bucket) => (await of.estimate()).limits[0].remaining;

  it('returns the slot of a call, and lets others wait for it', async () => {
    const limit = limitOf({}, slots());
    const [first] = [await limit.wait(), await limit.wait()];
    const sent = start(many(2, limit));
    await clock.advance(700);
    expect(sent).toEqual([]);
    await first?.release();
    await clock.advance(0);
    expect(sent).toEqual([700]);
  });

  it('rejects calls that find no slot within `maxWait`', async () => {
    const limit = limitOf({ maxWait: '400ms' }, slots());
    expect(await send(many(4, limit), 399)).toEqual([0, 0]);
    expect(await send(many(1, limitOf({ maxWait: 0 }, slots())), 0)).toEqual(['OutboundLimitExceededException']);
    expect(await send(many(1, limit), 400)).toEqual(['OutboundLimitExceededException']);
  });

  it('holds the slot while the turn of the call has not come', async () => {
    const limit = limitOf({}, both());
    const sent = start(many(3, limit));
    await clock.advance(100);
    expect(await free(both())).toBe(0);
    await clock.advance(1000);
    // The third one waits for a slot, and has taken nothing.
    expect(sent).toEqual([0, 200]);
  });

  it('releases the slot of a call whose signal is aborted before its turn', async () => {
    const controller = new AbortController();
    const sent = start(many(2, limitOf({}, both())), controller.signal);
    await clock.advance(100);
    controller.abort(new DOMException('stopped', 'AbortError'));
    await clock.advance(0);
    expect(sent).toEqual([0, 'AbortError']);
    expect(await free(both())).toBe(1);
  });

  it('holds no slot of a call whose turn is void, because the bucket was blocked during the wait', async () => {
    const [one, other] = [limitOf({}, both()), limitOf({}, both())];
    const sent = start([one, other]);
    await clock.advance(100);
    await one.observe(retryAfter(3));
    await clock.advance(1000);
    expect(await free(both())).toBe(0);
    await both().unblock();
    expect(await free(both())).toBe(1);
    await clock.advance(5000);
    expect(sent).toEqual([0, 3100]);
  });

  it.each([
    ['slots only', () => slots(), 4000],
    ['slots and tokens', () => both(), 3000],
  ])('sends nothing before the end of a block: %s', async (_, of, latest) => {
    const limit = limitOf({}, of());
    await limit.observe(retryAfter(3));
    const [sent] = await send([limit], 10_000);
    expect(sent).toBeGreaterThanOrEqual(3000);
    expect(sent).toBeLessThanOrEqual(latest);
  });

  it('takes another turn, with another slot, if its process was busy', async () => {
    const { sleep } = clock;
    clock.sleep = (ms, signal) => sleep.call(clock, ms + 100, signal);
    const sent = await send(many(2, limitOf({}, both())), 5000);
    // As without slots: after five turns that are noticed 100 ms late.
    expect(sent).toEqual([0, 1100]);
    expect(await free(both())).toBe(0);
  });

  it('sends calls late that only wait for slots', async () => {
    const limit = limitOf({}, slots());
    const [first] = [await limit.wait(), await limit.wait()];
    const sent = start([limit]);
    await clock.advance(45_000);
    await first?.release();
    await clock.advance(0);
    expect(sent).toEqual([45_000]);
  });
});
