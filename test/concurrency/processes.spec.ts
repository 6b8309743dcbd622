import { describe, expect, it } from '@jest/globals';
import { MemoryStore, type Slot } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { slotsOf } from '../../src/concurrency/slots.js';
import { parsePolicy } from '../../src/core/policy.js';
import { SlotProcess } from '../support/slot-process.js';

const LIMIT = { name: 'work', concurrency: 2, slotTtl: '3s' } as const;

function open(count: number) {
  const clock = new FakeClock();
  const shared = new MemoryStore({ clock });
  shared.close();
  const processes = Array.from({ length: count }, () => new SlotProcess(shared));
  const bucketOf = (process: SlotProcess) => process.buckets.bucket(LIMIT, 'key');
  /** Advances the clock until the promise has settled. */
  const settled = async <T>(promise: Promise<T>, ms = 50): Promise<T> => {
    promise.catch(() => {});
    await clock.advance(ms);
    return promise;
  };
  const free = async () => settled(bucketOf(processes[0]).available());
  return { clock, shared, processes, bucketOf, settled, free };
}

describe('the slots of several processes', () => {
  it('are free at once when their process releases them', async () => {
    const {
      processes: [a, b],
      bucketOf,
      settled,
    } = open(2);
    const slots = [await settled(bucketOf(a).acquire()), await settled(bucketOf(a).acquire())];
    expect(await settled(bucketOf(b).tryAcquire())).toBeUndefined();
    await settled(Promise.all(slots.map((slot) => slot.release())));
    expect(a.calls).toEqual({ take: 2, hold: 1 });
    expect(await settled(bucketOf(b).tryAcquire())).toBeDefined();
  });

  it('stay taken while their process renews them, and are free `slotTtl` after it was killed', async () => {
    const {
      clock,
      processes: [a, b],
      bucketOf,
      settled,
    } = open(2);
    await settled(Promise.all([bucketOf(a).acquire(), bucketOf(a).acquire()]));
    await clock.advance(60_000);
    expect(await settled(bucketOf(b).tryAcquire())).toBeUndefined();
    a.kill();
    await clock.advance(3000);
    expect(await settled(bucketOf(b).tryAcquire())).toBeDefined();
  });

  it('go to the process that has waited longest', async () => {
    const {
      clock,
      processes: [a, b, c],
      bucketOf,
      settled,
    } = open(3);
    const held = [await settled(bucketOf(a).acquire()), await settled(bucketOf(a).acquire())];
    const order: string[] = [];
    const wait = (name: string, process: SlotProcess) =>
      bucketOf(process)
        .acquire()
        .then((slot) => {
          order.push(name);
          return slot;
        });
    const waiting: Promise<Slot>[] = [];
    for (const [name, process] of [
      ['b1', b],
      ['c1', c],
      ['b2', b],
      ['a1', a],
    ] as const) {
      waiting.push(wait(name, process));
      await clock.advance(100);
    }
    for (let i = 0; i < 4; i++) {
      const slot = held.shift() as Slot;
      await settled(slot.release());
      held.push(await waiting[i]);
    }
    expect(order).toEqual(['b1', 'c1', 'b2', 'a1']);
  });

  it('are found within a second by waiters whose message was lost', async () => {
    const {
      clock,
      processes: [a, b],
      bucketOf,
      settled,
    } = open(2);
    const slots = await settled(Promise.all([bucketOf(a).acquire(), bucketOf(a).acquire()]));
    const waiting = bucketOf(b).acquire();
    await clock.advance(100);
    b.link = 'lost answers';
    await settled(slots[0].release());
    b.link = 'up';
    await clock.advance(1000);
    await expect(waiting).resolves.toBeDefined();
  });

  /** Process `a` holds both slots, and `b` waits, which it has reported when it tried again. */
  async function waiting() {
    const world = open(3);
    const [a, b] = world.processes;
    const bucket = world.bucketOf(a);
    const slots = await world.settled(Promise.all([bucket.acquire(), bucket.acquire()]));
    const waits = world.bucketOf(b).acquire();
    await world.clock.advance(1100);
    return { ...world, slots, waits };
  }

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
    } = open(3);
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

  it('are returned by a process whose first request needs more than a slot, and taken with it', async () => {
    const world = open(2);
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
    const both = Promise.resolve(slotsOf(b).acquire({ takes, queue: () => new AbortController().signal }));
    await clock.advance(1100);
    b.calls.take = 0;
    await settled(slots[0].release());
    expect((await both).answer.limits.map(({ remaining }) => remaining)).toEqual([0, 4]);
    expect(b.calls.take).toBe(1);
    expect(await world.free()).toBe(0);
  });

  it('are lost when the store was not reached for `slotTtl`, and count until they are released', async () => {
    const {
      clock,
      processes: [a, b],
      bucketOf,
      settled,
    } = open(2);
    const [first, second] = await settled(Promise.all([bucketOf(a).acquire(), bucketOf(a).acquire()]));
    a.link = 'lost calls';
    await clock.advance(2900);
    expect(first.signal.aborted).toBe(false);
    await clock.advance(101);
    expect(first.signal.aborted).toBe(true);
    expect(second.signal.reason).toMatchObject({
      message: 'Slot of policy work lost: the store was not reached for its slotTtl of 3000 ms',
    });
    expect(await settled(bucketOf(b).tryAcquire())).toBeDefined();
    a.link = 'up';
    await clock.advance(1100);
    expect(await settled(bucketOf(b).available())).toBe(-1);
    await settled(Promise.all([first.release(), second.release()]));
    expect(await settled(bucketOf(b).available())).toBe(1);
    expect(slotsOf(a).size).toBe(0);
  });

  it.each(['lost calls', 'lost answers'] as const)('are released although reports get lost: %s', async (link) => {
    const {
      clock,
      processes: [a, b],
      bucketOf,
      settled,
    } = open(2);
    const slots = await settled(Promise.all([bucketOf(a).acquire(), bucketOf(a).acquire()]));
    a.link = link;
    await settled(Promise.all(slots.map((slot) => slot.release())));
    a.link = 'up';
    await clock.advance(1100);
    expect(await settled(bucketOf(b).available())).toBe(2);
    expect(slotsOf(a).size).toBe(0);
    expect(clock.sleeping).toBe(0);
  });

  it('are corrected after a take whose answer was lost', async () => {
    const {
      clock,
      processes: [a],
      bucketOf,
      settled,
      free,
    } = open(1);
    a.link = 'lost answers';
    await expect(settled(bucketOf(a).acquire())).rejects.toThrow('lost');
    a.link = 'up';
    await clock.advance(1100);
    expect(await free()).toBe(2);
    expect(slotsOf(a).size).toBe(0);
  });
});
