import { describe, expect, it } from '@jest/globals';
import { BucketService, MemoryStore, RateLimitStoreError } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { rowLength } from '../../../src/core/answer.js';
import type { StoreAnswer } from '../../../src/core/decision.js';
import type { StoreRequest } from '../../../src/core/request.js';
import { runAcrossSlots } from '../../../src/stores/redis/cross-slot.js';
import { DenyCacheStore } from '../../../src/stores/remote/deny-cache.store.js';
import { LeaseStore } from '../../../src/stores/remote/lease.store.js';
import { ResilientStore } from '../../../src/stores/remote/resilient.store.js';
import { StoreWrapper } from '../../../src/stores/remote/store-wrapper.js';
import { SlotSubject } from '../../support/slot-subject.js';

/** Counts calls, and fails them while it is down. */
class Remote extends StoreWrapper {
  calls: StoreRequest[] = [];
  isDown = false;

  override get isShared(): boolean {
    return true;
  }

  override async run(request: StoreRequest): Promise<StoreAnswer> {
    this.calls.push(request);
    if (this.isDown) throw new RateLimitStoreError('down', 'store', { outcome: 'not-applied' });
    return this.store.run(request);
  }
}

let remote: Remote;
function remoteStore(clock: MemoryStore['clock']): Remote {
  const memory = new MemoryStore({ clock });
  memory.close();
  remote = new Remote(memory);
  return remote;
}

describe('slots of a remote store', () => {
  it('are denied by the store each time, as it is unknown when one is released', async () => {
    const subject = new SlotSubject((clock) => new DenyCacheStore(remoteStore(clock)), { concurrency: 1 });
    for (let i = 0; i < 3; i++) await subject.take(1);
    expect(remote.calls).toHaveLength(3);
    const mixed = new SlotSubject((clock) => new DenyCacheStore(remoteStore(clock)), {
      limits: [{ concurrency: 5 }, { capacity: 1, refill: 1, duration: 60 }],
    });
    for (let i = 0; i < 3; i++) await mixed.take(1);
    expect(remote.calls).toHaveLength(3);
  });

  it('are not leased', async () => {
    const subject = new SlotSubject((clock) => new LeaseStore(remoteStore(clock)), { concurrency: 2 });
    for (let i = 0; i < 3; i++) await subject.take(1);
    expect(remote.calls.map(({ verb }) => verb)).toEqual(['take', 'take', 'take']);
    await subject.store.close();
  });

  it('are reported by all wrappers as shared', async () => {
    const { store } = new SlotSubject((clock) => new LeaseStore(new DenyCacheStore(remoteStore(clock))), {
      concurrency: 1,
    });
    expect(store.isShared).toBe(true);
    expect(new DenyCacheStore(new MemoryStore()).isShared).toBe(false);
    await store.close();
  });

  describe('while the store is unavailable', () => {
    const resilient = (concurrency: number, mode: 'local' | 'open' | 'closed', instances = 1) => {
      const subject = new SlotSubject(
        (clock) => new ResilientStore(remoteStore(clock), { mode, timeout: 1000, instances }),
        { concurrency },
      );
      remote.isDown = true;
      return subject;
    };

    it("are this process's share, of which it counts those that it already holds", async () => {
      const subject = resilient(8, 'local', 2);
      expect(await subject.take(1, { count: 2 })).toMatchObject({ allowed: true, limit: 4, remaining: 1 });
      expect(await subject.take(1, { count: 3 })).toMatchObject({ allowed: true, remaining: 0 });
      expect(await subject.take(1, { count: 4 })).toMatchObject({ allowed: false, source: 'fallback' });
    });

    it('are at least one for each process', async () => {
      const subject = resilient(2, 'local', 10);
      expect((await subject.take(1, { count: 0 })).allowed).toBe(true);
      expect((await subject.take(1, { count: 1 })).allowed).toBe(false);
    });

    it('count a take that is decided late after the ones that were sent later', async () => {
      const subject = resilient(4, 'local');
      await subject.take(1, { count: 2, sequence: 2 });
      expect(await subject.take(1, { count: 1, sequence: 1 })).toMatchObject({ allowed: true, remaining: 0 });
    });

    it('are counted anew in each outage', async () => {
      const subject = resilient(4, 'local');
      await subject.take(1, { count: 0 });
      await expect(subject.hold(1, 1, { sequence: 5 })).rejects.toThrow(RateLimitStoreError);
      remote.isDown = false;
      for (let i = 0; i < 3; i++) await subject.take(1, { count: i });
      remote.isDown = true;
      expect(await subject.take(1, { count: 3 })).toMatchObject({ allowed: true, remaining: 0 });
    });

    it.each(['local', 'open', 'closed'] as const)('reject reports with the failure mode %s', async (mode) => {
      const subject = resilient(4, mode);
      await expect(subject.hold(1, 2)).rejects.toMatchObject({ outcome: 'not-applied' });
      remote.isDown = false;
      await subject.take(1);
      expect(remote.calls.map(({ verb }) => verb)).toEqual(['hold', 'take']);
    });

    it('are released here by a report that did not reach the store', async () => {
      const subject = resilient(2, 'local');
      for (let i = 0; i < 2; i++) await subject.take(1);
      await expect(subject.hold(1, 1)).rejects.toThrow(RateLimitStoreError);
      expect((await subject.take(1)).allowed).toBe(true);
    });
  });

  it('are awaited by no request once the store is found to be down', async () => {
    const clock = new FakeClock();
    const bucket = new BucketService(remoteStore(clock)).bucket({ concurrency: 1 }, 'key');
    const slot = await bucket.acquire();
    const waiting = [bucket.acquire(), bucket.acquire(), bucket.acquire()];
    await clock.advance(100);
    remote.isDown = true;
    const rejected = Promise.all(
      [...waiting, bucket.acquire()].map((each) => expect(each).rejects.toThrow(RateLimitStoreError)),
    );
    await clock.advance(1000);
    await rejected;
    remote.isDown = false;
    await slot.release();
    expect(await bucket.available()).toBe(1);
  });

  it('are released if another server of a Cluster denies the request', async () => {
    const subject = new SlotSubject(remoteStore, { concurrency: 3 });
    const other = new SlotSubject(remoteStore, { name: 'other', capacity: 1, refill: 0 });
    await other.run('take', { amount: 1000 });
    await subject.take(1);
    const run = async (request: StoreRequest) => {
      const [{ policy }] = request.takes;
      const { allowed } = await (policy === subject.policy ? subject : other).store.run(request);
      return [allowed ? 1 : 0, 0, 0, subject.clock.now(), ...Array(rowLength(request.takes) - 4).fill(0)];
    };
    const take = { key: 'key', amount: 1000, maxWait: 0 };
    const takes = [
      { ...take, policy: subject.policy, holder: { id: 1 } },
      { ...take, policy: other.policy },
    ];
    expect((await runAcrossSlots({ verb: 'take', takes }, run))[0]).toBe(0);
    expect(await subject.free()).toBe(2);
  });
});
