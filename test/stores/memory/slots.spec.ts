import { describe, expect, it } from '@jest/globals';
import { MemoryStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { SlotSubject } from '../../support/slot-subject.js';

const lasting = { isLasting: true };

describe('a MemoryStore of at most two buckets', () => {
  const setup = () => {
    const clock = new FakeClock();
    const store = new MemoryStore({ clock, maxBuckets: 2 });
    store.close();
    const subject = (key: string) => new SlotSubject(() => store, { concurrency: 2, block: '1s' }, key);
    const rate = (key: string) => new SlotSubject(() => store, { name: 'rate', capacity: 1, refill: 0 }, key);
    return { clock, store, subject, rate };
  };

  it('keeps buckets whose slots are held, however many', async () => {
    const { store, subject, rate } = setup();
    const held = ['a', 'b', 'c', 'd'].map(subject);
    for (const one of held) expect((await one.take(1, lasting)).allowed).toBe(true);
    for (let i = 0; i < 5; i++) await rate(`key ${i}`).run('take', { amount: 1000 });
    for (const one of held) expect(await one.free()).toBe(1);
    expect([store.size, store.evicted]).toEqual([5, 4]);
  });

  it('evicts them once they are released', async () => {
    const { store, subject, rate } = setup();
    const held = ['a', 'b', 'c', 'd'].map(subject);
    for (const one of held) await one.take(1, lasting);
    for (const one of held) await one.hold(1, 0, lasting);
    for (let i = 0; i < 5; i++) await rate(`key ${i}`).run('take', { amount: 1000 });
    expect(store.size).toBeLessThanOrEqual(4);
    for (const one of held) expect((await one.take(1, lasting)).allowed).toBe(true);
    for (const one of held) expect(await one.free()).toBe(1);
  });

  it('ends a block to keep the slots of its bucket', async () => {
    const { store, subject } = setup();
    const held = ['a', 'b', 'c'].map(subject);
    for (const one of held) {
      await one.take(1, lasting);
      await one.run('block', {}, { duration: 60_000 });
    }
    expect(store.size).toBe(3);
    for (const one of held) {
      await one.run('unblock');
      expect(await one.free()).toBe(1);
    }
  });

  it('does not dump slots, which end with their process', async () => {
    const { clock, store, subject } = setup();
    await subject('a').take(1, lasting);
    const next = new MemoryStore({ clock });
    next.close();
    next.restore(store.dump());
    expect(next.size).toBe(0);
  });
});

it('notifies the process that has waited longest of free slots', async () => {
  const store = new MemoryStore({ clock: new FakeClock() });
  store.close();
  const subject = new SlotSubject(() => store, { concurrency: 2 });
  subject.listen(1, 2, 3);
  await subject.take(1);
  await subject.take(1);
  await subject.take(2, { maxWait: 5000, waited: 10 });
  await subject.take(3, { maxWait: 5000, waited: 20 });
  expect(subject.messages).toEqual([]);
  await subject.hold(1, 0);
  expect(subject.messages).toEqual(['3: 2']);
  await subject.take(3, { maxWait: 5000, waited: 20 });
  expect(subject.messages).toEqual(['3: 2', '2: 1']);
  await subject.take(2, { maxWait: 5000, waited: 10 });
  expect(subject.messages).toHaveLength(2);
  await subject.run('reset');
  expect(subject.messages.at(-1)).toBe('');
});

it('notifies processes of slots that they were granted', async () => {
  const store = new MemoryStore({ clock: new FakeClock() });
  store.close();
  const subject = new SlotSubject(() => store, { concurrency: 3 });
  subject.listen(1, 2, 3, 4);
  await subject.hold(1, 3, { sequence: 5 });
  await subject.hold(2, 0, { sequence: 6, waited: 10 });
  await subject.hold(3, 0, { sequence: 7, waited: 20 });
  await subject.hold(1, 2, { sequence: 8 });
  expect(subject.messages.splice(0)).toEqual(['3: 0 7']);
  await subject.hold(3, 1, { sequence: 9, waited: 5 });
  await subject.hold(1, 0, { sequence: 10, waited: 1 });
  expect(subject.messages.splice(0)).toEqual(['2: 0 6', '3: 0 9']);
  // A process in whose memory the store is takes them at once.
  await subject.hold(4, 0, { sequence: 11, waited: 20, isLasting: true });
  await subject.hold(2, 0, { sequence: 12 });
  expect(subject.messages).toEqual(['4: 1']);
});
