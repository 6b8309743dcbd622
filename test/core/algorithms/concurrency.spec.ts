import { describe, expect, it } from '@jest/globals';
import type { LimitOptions } from '../../../src/core/policy.js';
import { MemoryStore } from '../../../src/stores/memory/memory.store.js';
import { SlotSubject } from '../../support/slot-subject.js';
import { storeKinds } from '../../support/store-subject.js';

const { memory, redis } = storeKinds();

describe.each([memory, redis])('concurrency limits in a $name', ({ make }) => {
  const slots = (options: LimitOptions) => new SlotSubject(make, options);

  it('admits as many at once as there are slots', async () => {
    const subject = slots({ concurrency: 2 });
    expect(await subject.take(1)).toMatchObject({ allowed: true, limit: 2, remaining: 1, retryAfter: 0, taken: 1 });
    expect(await subject.take(2)).toMatchObject({ allowed: true, remaining: 0, delay: 0 });
    expect(await subject.take(1)).toMatchObject({ allowed: false, remaining: 0, retryAfter: 1000, resetAfter: 30_000 });
    expect((await subject.hold(2, 0)).remaining).toBe(1);
    expect((await subject.take(1)).allowed).toBe(true);
  });

  it('takes one slot whatever the cost', async () => {
    const subject = slots({ concurrency: 3 });
    expect((await subject.take(1, { amount: 0 })).remaining).toBe(2);
    expect((await subject.take(1, { amount: 5000 })).remaining).toBe(1);
  });

  it('frees the slots of a holder that has not reported for `slotTtl`', async () => {
    const subject = slots({ concurrency: 2, slotTtl: '2s' });
    await subject.take(1);
    subject.advance(1500);
    await subject.take(2);
    subject.advance(499);
    expect((await subject.take(2)).allowed).toBe(false);
    subject.advance(1);
    expect(await subject.free()).toBe(1);
    expect((await subject.take(2)).allowed).toBe(true);
  });

  it('renews all slots of a holder with a take or a report', async () => {
    const subject = slots({ concurrency: 2, slotTtl: '2s' });
    await subject.take(1);
    subject.advance(1999);
    await subject.hold(1, 1);
    subject.advance(1999);
    expect(await subject.free()).toBe(1);
    await subject.take(1);
    subject.advance(1999);
    expect(await subject.free()).toBe(0);
  });

  it('replaces what was lost by the next report', async () => {
    const subject = slots({ concurrency: 4 });
    for (let i = 0; i < 3; i++) await subject.take(1);
    expect((await subject.hold(1, 1)).remaining).toBe(3);
    expect((await subject.hold(1, 1)).remaining).toBe(3);
  });

  it('ignores reports that are older than the last one', async () => {
    const subject = slots({ concurrency: 4 });
    await subject.hold(1, 3, { sequence: 5 });
    expect((await subject.hold(1, 1, { sequence: 4 })).remaining).toBe(1);
    expect((await subject.hold(1, 2, { sequence: 5 })).remaining).toBe(2);
  });

  it('may hold more than there are after an outage', async () => {
    const subject = slots({ concurrency: 2 });
    expect(await subject.hold(1, 5)).toMatchObject({ allowed: true, remaining: 0, balance: -3 });
    expect((await subject.take(2)).allowed).toBe(false);
  });

  it('releases one slot with a report without a count', async () => {
    const subject = slots({ concurrency: 2 });
    await subject.take(1);
    await subject.take(1);
    const release = () => subject.run('hold', { holder: { id: 1 } });
    expect((await release()).remaining).toBe(1);
    await release();
    expect((await release()).remaining).toBe(2);
  });

  describe('while a process waits', () => {
    async function waiting(): Promise<SlotSubject> {
      const subject = slots({ concurrency: 1 });
      await subject.take(1);
      expect((await subject.take(2, { maxWait: 5000 })).allowed).toBe(false);
      await subject.hold(1, 0);
      return subject;
    }

    it('denies new requests although a slot is free', async () => {
      const subject = await waiting();
      expect(await subject.take(1)).toMatchObject({ allowed: false, remaining: 1, retryAfter: 1000 });
      expect(await subject.take(2)).toMatchObject({ allowed: false, remaining: 1 });
      expect(await subject.run('estimate', { holder: { id: 3 } })).toMatchObject({ allowed: false });
    });

    it('admits its waiter, after which new requests are admitted again', async () => {
      const subject = await waiting();
      subject.advance(10);
      expect((await subject.take(2, { waited: 10, maxWait: 4990 })).allowed).toBe(true);
      await subject.hold(2, 0);
      expect((await subject.take(1)).allowed).toBe(true);
    });

    it('keeps it registered while another of its requests waits', async () => {
      const subject = await waiting();
      subject.advance(10);
      await subject.take(2, { waited: 10, nextWaited: 4, maxWait: 4990 });
      await subject.hold(2, 0, { waited: 4 });
      expect((await subject.take(1)).allowed).toBe(false);
    });

    it('admits the waiter that has waited longest', async () => {
      const subject = await waiting();
      subject.advance(10);
      expect((await subject.take(3, { waited: 5, maxWait: 5000 })).allowed).toBe(false);
      expect((await subject.take(2, { waited: 10, maxWait: 5000 })).allowed).toBe(true);
    });

    it('forgets it when it leaves', async () => {
      const subject = await waiting();
      await subject.hold(2, 0);
      expect((await subject.take(1)).allowed).toBe(true);
    });

    it('forgets it when it no longer tries', async () => {
      const subject = await waiting();
      subject.advance(2499);
      expect((await subject.take(1)).allowed).toBe(false);
      subject.advance(1);
      expect((await subject.take(1)).allowed).toBe(true);
    });
  });

  describe('while processes wait that have reported it', () => {
    /** Process 1 holds all slots; 2 has waited longer than 3. */
    async function waiting(options: LimitOptions): Promise<SlotSubject> {
      const subject = slots(options);
      const { size } = subject.policy.limits[subject.policy.slotIndex];
      await subject.hold(1, size, { sequence: 1 });
      await subject.hold(2, 0, { sequence: 7, waited: 20 });
      await subject.hold(3, 0, { sequence: 8, waited: 10 });
      return subject;
    }

    it('grants each a slot, the one first that has waited longest', async () => {
      const subject = await waiting({ concurrency: 3 });
      expect(await subject.hold(1, 2, { sequence: 2 })).toMatchObject({ remaining: 0, retryAfter: 1000 });
      // Nothing is left if it was granted to process 2.
      expect((await subject.hold(2, 1, { sequence: 9 })).remaining).toBe(0);
      expect((await subject.hold(1, 1, { sequence: 3 })).remaining).toBe(0);
      expect((await subject.hold(3, 1, { sequence: 10 })).remaining).toBe(0);
    });

    it('grants none a second one until it has reported the first', async () => {
      const subject = await waiting({ concurrency: 5 });
      expect(await subject.hold(1, 0, { sequence: 2 })).toMatchObject({ remaining: 3, retryAfter: 0 });
      expect((await subject.hold(2, 1, { sequence: 9, waited: 20 })).remaining).toBe(2);
      expect((await subject.hold(2, 2, { sequence: 10 })).remaining).toBe(2);
    });

    it('frees the slot again with a report that does not count it', async () => {
      const subject = await waiting({ concurrency: 1 });
      await subject.hold(1, 0, { sequence: 2 });
      // It was sent before the grant, and process 2 still waits: the slot is for process 3.
      expect((await subject.hold(2, 0, { sequence: 9, waited: 5 })).remaining).toBe(0);
      expect((await subject.hold(3, 1, { sequence: 10 })).remaining).toBe(0);
      expect((await subject.hold(3, 0, { sequence: 11 })).remaining).toBe(0);
      expect((await subject.hold(2, 0, { sequence: 12 })).remaining).toBe(1);
    });

    it('frees the slot again with a take that is a report', async () => {
      const subject = await waiting({ concurrency: 1 });
      await subject.hold(1, 0, { sequence: 2 });
      const report = { count: 0, sequence: 9, maxWait: 5000 };
      expect(await subject.take(2, { ...report, waited: 20 })).toMatchObject({ allowed: true, remaining: 0 });
      await subject.hold(2, 0, { sequence: 10 });
      // Now process 3 has it; without a wait of its own, process 2 leaves it alone.
      expect(await subject.take(2, { ...report, sequence: 11 })).toMatchObject({ allowed: false, remaining: 0 });
      expect((await subject.hold(3, 1, { sequence: 12 })).remaining).toBe(0);
    });

    it('keeps the slot for no longer than the process is known to live', async () => {
      const subject = await waiting({ concurrency: 1, slotTtl: '5s' });
      subject.advance(2000);
      await subject.hold(1, 0, { sequence: 2 });
      subject.advance(2999);
      expect(await subject.free()).toBe(0);
      subject.advance(1);
      expect(await subject.free()).toBe(1);
    });

    it.each<[string, LimitOptions, number]>([
      ['of which one has only tried to take one', { concurrency: 1 }, 0],
      ['beside another limit', { limits: [{ concurrency: 1 }, { capacity: 5, refill: 1 }] }, 9],
      ['of a blocked bucket', { concurrency: 1, block: '1s' }, 9],
    ])('grants nothing %s', async (_, options, sequence) => {
      const subject = slots(options);
      await subject.hold(1, 1, { sequence: 1 });
      await subject.hold(2, 0, { sequence, waited: 20 });
      if ('block' in options) await subject.run('block', {}, { duration: 1000 });
      await subject.hold(1, 0, { sequence: 2 });
      await subject.run('unblock');
      expect(await subject.free()).toBe(1);
    });
  });

  describe('beside a rate limit', () => {
    const both = { limits: [{ concurrency: 1 }, { capacity: 2, refill: 1, duration: 1 }] };

    it('takes nothing if the slot is missing, and starts no block', async () => {
      const subject = slots({ ...both, block: '1m' });
      await subject.take(1);
      const { allowed, limits } = await subject.take(2, { maxWait: 5000 });
      expect(allowed).toBe(false);
      expect(limits.map(({ remaining, retryAfter }) => [remaining, retryAfter])).toEqual([
        [0, 1000],
        [1, 0],
      ]);
      await subject.hold(1, 0);
      expect((await subject.take(2, { waited: 1 })).allowed).toBe(true);
    });

    it('takes no slot and registers no waiter if the rate limit denies', async () => {
      const subject = slots({ limits: [{ concurrency: 3 }, { capacity: 1, refill: 1, duration: 10 }] });
      await subject.take(1);
      expect((await subject.take(2, { maxWait: 10 })).limits.map(({ remaining }) => remaining)).toEqual([2, 0]);
      subject.advance(10_000);
      expect((await subject.take(3)).allowed).toBe(true);
    });

    it('holds the slot during the delay of the rate limit', async () => {
      const subject = slots({ limits: [{ concurrency: 3 }, { capacity: 1, refill: 1 }] });
      await subject.take(1);
      expect(await subject.take(2, { maxWait: 5000 })).toMatchObject({ allowed: true, delay: 1000 });
      expect(await subject.free()).toBe(1);
      await subject.run('cancel', { amount: 1000 }, { actAt: [subject.clock.now() + 1000] });
      expect(await subject.free()).toBe(1);
    });
  });

  it('forgets all holders at a reset', async () => {
    const subject = slots({ concurrency: 2 });
    await subject.take(1);
    await subject.take(2);
    await subject.run('reset');
    expect(await subject.free()).toBe(2);
  });

  it.each([
    ['as-is', 1],
    ['reset', 3],
  ] as const)('carries holders over to other limits with `%s`', async (strategy, free) => {
    const subject = slots({ concurrency: 2 });
    await subject.take(1);
    await subject.take(2);
    const other = slots({ concurrency: 3 });
    const { limits } = await subject.run('replace', {}, { to: other.policy, strategy });
    expect(limits[0].remaining).toBe(2);
    expect(await subject.run('estimate', { policy: other.policy })).toMatchObject({ remaining: free });
  });

  it('denies while the bucket is blocked, and counts releases', async () => {
    const subject = slots({ concurrency: 2 });
    await subject.take(1);
    await subject.run('block', {}, { duration: 5000 });
    expect(await subject.take(1)).toMatchObject({ allowed: false, remaining: 0, retryAfter: 5000 });
    await subject.hold(1, 0);
    await subject.run('unblock');
    expect(await subject.free()).toBe(2);
  });

  it('keeps slots when the clock is set back, for at most `slotTtl`', async () => {
    const subject = slots({ concurrency: 1, slotTtl: '2s' });
    await subject.take(1);
    subject.advance(-3_600_000);
    expect((await subject.take(2)).allowed).toBe(false);
    subject.advance(2500);
    expect((await subject.take(2)).allowed).toBe(true);
  });
});

describe('slots in a MemoryStore', () => {
  const slots = (options: LimitOptions) =>
    new SlotSubject((clock) => {
      const store = new MemoryStore({ clock });
      store.close();
      return store;
    }, options);

  it('last until they are released', async () => {
    const subject = slots({ concurrency: 1, slotTtl: '1s' });
    expect((await subject.take(1, { isLasting: true })).resetAfter).toBe(Infinity);
    subject.advance(86_400_000);
    expect((await subject.take(1, { isLasting: true })).allowed).toBe(false);
    subject.advance(-90_000_000);
    expect((await subject.take(1, { isLasting: true })).allowed).toBe(false);
    await subject.hold(1, 0, { isLasting: true });
    expect((await subject.take(1, { isLasting: true })).allowed).toBe(true);
  });
});

it('rejects takes of slots without a holder', async () => {
  const store = new MemoryStore();
  store.close();
  const subject = new SlotSubject(() => store, { concurrency: 1 });
  const message = 'policy slots has a concurrency limit, whose slots are held: use acquire() or hold()';
  await expect(subject.run('take')).rejects.toThrow(new RangeError(message));
});
