import assert from 'node:assert/strict';
import { type LimitOptions, parsePolicy } from '../core/policy.js';
import type { Take } from '../core/request.js';
import type { SlotHolder } from '../core/slot-holder.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { systemClock } from '../util/clock.js';
import type { DeclareTest } from './declare-test.js';

const TWO: LimitOptions = { name: 'slots', concurrency: 2, slotTtl: '10s' };

/** Declares the tests of concurrency limits. Holders with the ids 1, 2, … are processes that share the store. */
export function testSlots(test: DeclareTest): void {
  testHolders(test);
  testWaiting(test);
  testOtherLimits(test);
}

function testHolders(test: DeclareTest): void {
  test('grants slots until all are held, and again what their holder has released', async (_, _clock, store) => {
    const { take, hold } = callsOf(store, TWO);
    assert.deepEqual([await take(1), await take(2), await take(1), await take(3)], [true, true, false, false]);
    await hold(1, { count: 0 });
    assert.deepEqual([await take(3), await take(1)], [true, false]);
  });

  test('keeps the slots of a holder for its slotTtl after its last report', async (_, clock, store) => {
    const { take, hold } = callsOf(store, TWO);
    assert.deepEqual([await take(1), await take(2)], [true, true]);
    await clock.advance(6000);
    await hold(1, { count: 1 });
    await clock.advance(3999);
    assert.equal(await take(3), false);
    await clock.advance(1);
    assert.deepEqual([await take(3), await take(3)], [true, false]);
    await clock.advance(6000);
    assert.equal(await take(4), true);
  });

  test('ignores a report that is older than the last one', async (_, _clock, store) => {
    const { take, hold } = callsOf(store, TWO);
    await hold(1, { count: 2, sequence: 5 });
    await hold(1, { count: 0, sequence: 4 });
    assert.equal(await take(2), false);
    await hold(1, { count: 1, sequence: 6 });
    assert.deepEqual([await take(2), await take(2)], [true, false]);
  });

  test('forgets all holders after a reset', async (buckets, _clock, store) => {
    const { take } = callsOf(store, TWO);
    assert.deepEqual([await take(1), await take(2)], [true, true]);
    await buckets.bucket(TWO, 'key').reset();
    assert.deepEqual([await take(3), await take(3), await take(3)], [true, true, false]);
  });
}

function testWaiting(test: DeclareTest): void {
  test('keeps free slots for the holder that has waited longest', async (_, clock, store) => {
    const { take, hold } = callsOf(store, TWO);
    await hold(1, { count: 2, sequence: 1 });
    assert.equal(await take(2, { maxWait: 60_000 }), false);
    await clock.advance(500);
    assert.equal(await take(3, { maxWait: 60_000 }), false);
    await hold(1, { count: 1, sequence: 2 });
    assert.equal(await take(4), false);
    assert.equal(await take(3, { maxWait: 60_000, waited: 0 }), false);
    assert.equal(await take(2, { maxWait: 60_000, waited: 500 }), true);
    await hold(1, { count: 0, sequence: 3 });
    assert.deepEqual([await take(4), await take(3, { maxWait: 60_000, waited: 0 })], [false, true]);
  });

  test('grants released slots to the requests that wait, in their order', async (buckets, clock) => {
    const bucket = buckets.bucket({ name: 'queue', concurrency: 1 }, 'key');
    const order: number[] = [];
    let slot = await bucket.acquire();
    const waiting = [1, 2, 3].map(async (n) => {
      const taken = await bucket.acquire();
      order.push(n);
      return taken;
    });
    for (const next of waiting) {
      const count = order.length;
      await slot.release();
      // A store that does not notify is queried again each second.
      while (order.length === count) {
        await clock.advance(100);
        // On a timer that keeps the process alive.
        await systemClock.sleep(5);
      }
      slot = await next;
    }
    assert.deepEqual(order, [1, 2, 3]);
    await slot.release();
    assert.equal(await bucket.available(), 1);
  });
}

function testOtherLimits(test: DeclareTest): void {
  test('takes tokens only together with a slot', async (_, _clock, store) => {
    const limits = [{ concurrency: 1 }, { capacity: 5, refill: 1 }];
    const { take, hold, remaining } = callsOf(store, { name: 'both', limits });
    assert.deepEqual([await take(1), await take(2)], [true, false]);
    assert.deepEqual(await remaining(), [0, 4]);
    await hold(1, { count: 0 });
    assert.deepEqual(await remaining(), [1, 4]);
  });
}

/** What holders send about the slots of one bucket. */
function callsOf(store: RateLimitStore, options: LimitOptions) {
  const policy = parsePolicy(options, 'slots');
  const run = async (verb: 'take' | 'hold' | 'estimate', more: Partial<Take>) =>
    store.run({ verb, takes: [{ policy, key: 'key', amount: 0, maxWait: 0, ...more }] });
  return {
    async take(id: number, { maxWait = 0, ...holder }: Partial<SlotHolder> & { maxWait?: number } = {}) {
      return (await run('take', { amount: 1000, maxWait, holder: { ...holder, id } })).allowed;
    },
    hold: (id: number, holder: Partial<SlotHolder>) => run('hold', { holder: { ...holder, id } }),
    remaining: async () => (await run('estimate', {})).limits.map((limit) => limit.remaining),
  };
}
