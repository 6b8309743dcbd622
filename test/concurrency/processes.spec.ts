import { describe, expect, it } from '@jest/globals';
import type { Slot } from 'nest-rate-limit';
import { slotsOf } from '../../src/concurrency/slots.js';
import { openProcesses, type SlotProcess } from '../support/slot-process.js';

describe('the slots of several processes', () => {
  it('are free at once when their process releases them', async () => {
    const {
      processes: [a, b],
      bucketOf,
      settled,
    } = openProcesses(2);
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
    } = openProcesses(2);
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
    } = openProcesses(3);
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

  it('are not kept for a request that was aborted while its take was under way', async () => {
    const {
      processes: [a, b, c],
      bucketOf,
      settled,
    } = openProcesses(3);
    const [slot] = [await settled(bucketOf(a).acquire()), await settled(bucketOf(a).acquire())];
    const abort = new AbortController();
    const aborted = bucketOf(b).acquire({ signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(settled(aborted)).rejects.toThrow('enough');
    await settled(slot.release());
    expect(await settled(bucketOf(c).tryAcquire())).toBeDefined();
  });

  it('are found within a second by waiters whose message was lost', async () => {
    const {
      clock,
      processes: [a, b],
      bucketOf,
      settled,
    } = openProcesses(2);
    const slots = await settled(Promise.all([bucketOf(a).acquire(), bucketOf(a).acquire()]));
    const waiting = bucketOf(b).acquire();
    await clock.advance(100);
    b.link = 'lost answers';
    await settled(slots[0].release());
    b.link = 'up';
    await clock.advance(1000);
    await expect(waiting).resolves.toBeDefined();
  });

  it('are lost when the store was not reached for `slotTtl`, and count until they are released', async () => {
    const {
      clock,
      processes: [a, b],
      bucketOf,
      settled,
    } = openProcesses(2);
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
    } = openProcesses(2);
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
    } = openProcesses(1);
    a.link = 'lost answers';
    await expect(settled(bucketOf(a).acquire())).rejects.toThrow('lost');
    a.link = 'up';
    await clock.advance(1100);
    expect(await free()).toBe(2);
    expect(slotsOf(a).size).toBe(0);
  });
});
