import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { describe, expect, it } from '@jest/globals';
import type { Slot, Subscriptions } from 'nest-rate-limit';
import { slotsOf } from '../../src/concurrency/slots.js';
import { parsePolicy } from '../../src/core/policy.js';
import { holderName } from '../../src/core/request.js';
import { advanced, LIMIT, openProcesses, type SlotProcess } from '../support/slot-process.js';

/** Process `a` holds both slots, and `b` waits, which it has reported when it tried again. */
async function waiting() {
  const world = openProcesses(3);
  const [a, b] = world.processes;
  const bucket = world.bucketOf(a);
  const slots = await world.settled(Promise.all([bucket.acquire(), bucket.acquire()]));
  const waits = world.bucketOf(b).acquire();
  await world.clock.advance(1100);
  return { ...world, slots, waits };
}

describe('free slots of several processes', () => {
  it('are granted to a process that waits, without another take', async () => {
    const {
      clock,
      processes: [, b],
      bucketOf,
      slots,
      waits,
    } = await waiting();
    const later = bucketOf(b).acquire();
    b.calls.take = 0;
    void slots[0].release();
    await clock.advance(4);
    // A report and a message of 2 ms each.
    expect((await waits).decision).toEqual({
      allowed: true,
      policy: 'work',
      limit: 2,
      remaining: 0,
      retryAfter: 0,
      resetAfter: 3000,
      delay: 0,
      source: 'store',
      limits: [{ name: 'work', limit: 2, remaining: 0, retryAfter: 0, resetAfter: 3000, moreAfter: 1000 }],
    });
    await clock.advance(10);
    void slots[1].release();
    await clock.advance(4);
    await later;
    expect(b.calls).toMatchObject({ take: 0 });
  });

  it('are not granted by a message that crossed a report, which freed them again', async () => {
    const {
      clock,
      processes: [a, b, c],
      bucketOf,
      settled,
    } = openProcesses(3);
    const slots = await settled(Promise.all([bucketOf(a).acquire(), bucketOf(b).acquire()]));
    const admitted: string[] = [];
    for (const [name, process] of Object.entries({ b1: b, c1: c, b2: b })) {
      void bucketOf(process)
        .acquire()
        .then(() => admitted.push(name));
      await clock.advance(1100);
    }
    void slots[0].release();
    await clock.advance(1);
    void slots[1].release();
    await clock.advance(100);
    expect(admitted.sort()).toEqual(['b1', 'c1']);
  });

  it('are granted again within a second if the message of the grant was lost', async () => {
    const {
      clock,
      processes: [, b],
      slots,
      waits,
      free,
    } = await waiting();
    b.link = 'lost answers';
    void slots[0].release();
    await clock.advance(10);
    expect(await free()).toBe(0);
    b.link = 'up';
    await clock.advance(1000);
    expect((await waits).decision.remaining).toBe(0);
    expect(await free()).toBe(0);
  });

  it('go to another process if the one to which they were granted no longer waits', async () => {
    const world = await waiting();
    const {
      clock,
      processes: [, b, c],
      bucketOf,
      slots,
      settled,
    } = world;
    const abort = new AbortController();
    const aborted = bucketOf(b).acquire({ signal: abort.signal });
    const other = bucketOf(c).acquire();
    await clock.advance(50);
    await Promise.all([settled(slots[0].release()), world.waits]);
    void slots[1].release();
    await clock.advance(3);
    // The grant is on its way.
    abort.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    await clock.advance(20);
    await expect(other).resolves.toBeDefined();
  });

  it('go to another process if the one to which they were granted dies, as long as it was alive', async () => {
    const {
      clock,
      processes: [, b],
      slots,
      free,
    } = await waiting();
    b.kill();
    await Promise.all([slots[0].release(), slots[1].release(), clock.advance(10)]);
    expect(await free()).toBe(1);
    await clock.advance(3000);
    expect(await free()).toBe(2);
  });

  it('are not used by a process that was suspended when they were granted to it, for too long', async () => {
    const {
      clock,
      processes: [, b, c],
      bucketOf,
      slots,
      waits,
      settled,
    } = await waiting();
    b.suspend();
    let isAdmitted = false;
    waits.then(
      () => {
        isAdmitted = true;
      },
      () => {},
    );
    await Promise.all([slots[0].release(), clock.advance(3100)]);
    const other = await settled(bucketOf(c).acquire({ maxWait: 0 }));
    b.continue();
    await clock.advance(500);
    expect(isAdmitted).toBe(false);
    await settled(other.release());
    await waits;
  });

  /** Process `b` waits for the only slot, which `a` holds, and which the store drops after a second without a report. */
  async function waitingBriefly() {
    const world = openProcesses(2);
    const [a, b] = world.processes;
    const bucketOf = (process: SlotProcess) =>
      process.buckets.bucket({ name: 'short', concurrency: 1, slotTtl: '1s' }, 'key');
    const slot = await advanced(world.clock, bucketOf(a).acquire());
    const waits = bucketOf(b).acquire();
    await world.clock.advance(1100);
    return { clock: world.clock, a: bucketOf(a), b, slot, waits };
  }

  it('are granted until the store would drop them, however short `slotTtl` is', async () => {
    const { clock, b, slot, waits } = await waitingBriefly();
    b.suspend();
    void slot.release();
    await clock.advance(1200);
    b.continue();
    await clock.advance(100);
    expect((await waits).signal.aborted).toBe(false);
  });

  it('are lost when the store drops them, which may be sooner once they have been reported', async () => {
    const { clock, a, b, slot, waits } = await waitingBriefly();
    void slot.release();
    await clock.advance(10);
    const { signal } = await waits;
    b.link = 'lost calls';
    await clock.advance(980);
    expect(signal.aborted).toBe(false);
    await clock.advance(20);
    expect(signal.aborted).toBe(true);
    expect(await advanced(clock, a.tryAcquire())).toBeDefined();
  });

  it('are taken with their release beside another limit, however little that has left', async () => {
    const {
      clock,
      processes: [a],
    } = openProcesses(1);
    const rate = { capacity: 1, refill: 1, refillMode: 'intervally', duration: 100, unit: 'milliseconds' } as const;
    const bucket = a.buckets.bucket({ name: 'both', limits: [{ concurrency: 1 }, rate] }, 'key');
    a.link = 'late messages';
    const first = await advanced(clock, bucket.acquire());
    let count = 0;
    const work = async () => {
      const slot = await bucket.acquire();
      count++;
      void slot.release();
    };
    for (let n = 0; n < 3; n++) {
      void work();
      await clock.advance(10);
    }
    void first.release();
    for (let ms = 0; ms < 350; ms += 10) await clock.advance(10);
    expect(count).toBe(3);
  });

  it('are measured from when they were granted', async () => {
    const { clock, slots, waits } = await waiting();
    await clock.advance(800);
    const messages: unknown[] = [];
    const listen = (message: unknown) => messages.push(message);
    subscribe('nest-rate-limit:slot', listen);
    void slots[0].release();
    await clock.advance(4);
    const slot = await waits;
    await clock.advance(20);
    void slot.release();
    unsubscribe('nest-rate-limit:slot', listen);
    expect(messages).toEqual([
      { policy: 'work', key: 'key', held: 0, event: 'granted' },
      { policy: 'work', key: 'key', held: 20, event: 'released' },
    ]);
  });

  it('are awaited in one queue by all requests of a process', async () => {
    const {
      clock,
      processes: [a, b],
    } = openProcesses(2);
    const held = new Set<Slot>();
    let most = 0;
    const acquire = async (process: SlotProcess) => {
      held.add(await process.buckets.bucket({ name: 'one', concurrency: 1, slotTtl: '3s' }, 'key').acquire());
      most = Math.max(most, held.size);
    };
    void acquire(a);
    await clock.advance(4);
    void acquire(b);
    await clock.advance(10);
    for (const slot of held) void slot.release();
    held.clear();
    // It is denied after the release was reported, so that for a moment the process has nothing of the bucket.
    void acquire(a);
    await clock.advance(1500);
    void acquire(a);
    await clock.advance(1500);
    for (const slot of held) void slot.release();
    held.clear();
    await clock.advance(3000);
    expect(most).toBe(1);
  });

  describe('while requests always wait', () => {
    /** Requests of some processes that begin again when their work of 50 to 150 ms has ended. */
    function work(processCount: number, requests: number, concurrency: number) {
      const { clock, processes } = openProcesses(processCount);
      const world = { clock, processes, used: 0, isOver: false };
      const again = async ({ buckets }: SlotProcess, first: number): Promise<void> => {
        for (let n = first; !world.isOver; n++) {
          const slot = await buckets.bucket({ name: 'busy', concurrency }, 'key').acquire();
          const ms = 50 + ((n * 37) % 101);
          await clock.sleep(ms);
          world.used += ms / concurrency;
          void slot.release();
        }
      };
      for (const process of processes) for (let n = 0; n < requests; n++) void again(process, n);
      return world;
    }

    it('are used by a single process after a round trip, although its releases cross the grants', async () => {
      const world = work(1, 200, 100);
      await world.clock.advance(5000);
      // Of 108 ms, a slot is idle for the 4 ms of a call twice at most.
      expect(world.used / 5000).toBeGreaterThan(0.88);
      world.isOver = true;
    });

    it('are used although messages are lost', async () => {
      const world = work(2, 12, 4);
      await world.clock.advance(2000);
      for (const process of world.processes) process.link = 'late messages';
      await world.clock.advance(1100);
      const before = world.used;
      await world.clock.advance(2800);
      // Each second they try to take one, which returns grants that they did not hear of.
      expect((world.used - before) / 2800).toBeGreaterThan(0.6);
      world.isOver = true;
    });
  });

  it('are awaited with one call a second by each process', async () => {
    const { clock, processes, bucketOf, slots } = await waiting();
    void bucketOf(processes[2]).acquire();
    await clock.advance(100);
    for (const one of processes) Object.assign(one.calls, { take: 0, hold: 0 });
    await clock.advance(10_000);
    expect(slots).toHaveLength(2);
    expect(processes.map(({ calls }) => calls)).toEqual([
      { take: 0, hold: 10 },
      { take: 10, hold: 0 },
      { take: 10, hold: 0 },
    ]);
  });

  it('are taken although messages arrive that mean nothing', async () => {
    const {
      clock,
      processes: [, b],
      shared,
      waits,
      slots,
    } = await waiting();
    const { subscriptions } = shared as unknown as { subscriptions: Subscriptions };
    const own = holderName({ policy: parsePolicy(LIMIT, 'work'), key: 'key' }, slotsOf(b).id);
    for (const message of ['x', '1 x', `1 ${2 ** 60}`, '-1', 'NaN NaN']) subscriptions.notify(own, message);
    await clock.advance(10);
    b.link = 'lost answers';
    void slots[0].release();
    await clock.advance(10);
    b.link = 'up';
    await clock.advance(1100);
    await expect(waits).resolves.toBeDefined();
  });

  it('are returned by a process whose first request needs more than a slot, and taken with it', async () => {
    const world = openProcesses(2);
    const {
      clock,
      processes: [a, b],
      bucketOf,
      settled,
    } = world;
    const slots = await settled(Promise.all([bucketOf(a).acquire(), bucketOf(a).acquire()]));
    const take = { key: 'key', amount: 1000, maxWait: 60_000 };
    const takes = [LIMIT, { name: 'rate', capacity: 5, refill: 0 }].map((options) => ({
      ...take,
      policy: parsePolicy(options, 'policy'),
    }));
    const both = Promise.resolve(slotsOf(b).acquire({ takes, queue: () => {} }));
    await clock.advance(1100);
    b.calls.take = 0;
    await settled(slots[0].release());
    expect((await both).answer.limits.map(({ remaining }) => remaining)).toEqual([0, 4]);
    expect(b.calls.take).toBe(1);
    expect(await world.free()).toBe(0);
  });
});
