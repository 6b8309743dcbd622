import { describe, expect, it } from '@jest/globals';
import { BucketService, type LimitOptions, MemoryStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';

const BUCKET: LimitOptions = { name: 'bucket', capacity: 5, refill: 1 };
const WINDOW: LimitOptions = { name: 'window', maxRequest: 3, duration: 10 };
const BOTH: LimitOptions = { name: 'both', capacity: 5, refill: 1, maxRequest: 3, duration: 10 };
const QUOTA: LimitOptions = { name: 'quota', capacity: 5, calendar: 'day' };

/** Fills a store, and restores its dump into a second store, as after a restart. */
function restarted(fill: (buckets: BucketService) => Promise<void>) {
  const clock = new FakeClock();
  const before = new MemoryStore({ clock });
  const after = new MemoryStore({ clock });
  return fill(new BucketService(before)).then(() => {
    after.restore(JSON.parse(JSON.stringify(before.dump())));
    before.close();
    after.close();
    return { clock, before, after, buckets: new BucketService(after) };
  });
}

describe('MemoryStore dump and restore', () => {
  it.each([BUCKET, WINDOW, BOTH, QUOTA])('returns the same answers after a restart: $name', async (policy) => {
    const { clock, before, buckets } = await restarted(async (old) => {
      await old.bucket(policy, '__proto__').tryConsume(2);
      await old.bucket(policy, 'blocked').block('1m');
      await old.bucket(policy, 'charged').charge(4);
    });
    const old = new BucketService(before);
    for (const ms of [0, 500, 2000, 57_000, 10_000, 86_400_000]) {
      await clock.advance(ms);
      for (const key of ['__proto__', 'blocked', 'charged', 'new']) {
        expect(await buckets.bucket(policy, key).estimate()).toEqual(await old.bucket(policy, key).estimate());
      }
    }
  });

  it('keeps buckets that were not used between two restarts', async () => {
    const { clock, after } = await restarted(async (old) => void (await old.bucket(BUCKET, 'key').tryConsume(5)));
    const third = new MemoryStore({ clock });
    third.restore(after.dump());
    expect(await new BucketService(third).bucket(BUCKET, 'key').available()).toBe(0);
    third.close();
  });

  it('respects `maxBuckets`, and does not overwrite existing buckets', async () => {
    const clock = new FakeClock();
    const before = new MemoryStore({ clock });
    for (let i = 0; i < 100; i++) await new BucketService(before).bucket(BUCKET, `key ${i}`).tryConsume(3);
    const after = new MemoryStore({ clock, maxBuckets: 10 });
    await new BucketService(after).bucket(BUCKET, 'key 0').tryConsume(5);
    after.restore(before.dump());
    expect(after.size).toBe(10);
    expect(await new BucketService(after).bucket(BUCKET, 'key 0').available()).toBe(0);
    before.close();
    after.close();
  });

  it('rejects a dump of another version', () => {
    const store = new MemoryStore();
    expect(() => store.restore({ version: 2 } as never)).toThrow('`dump.version` must be 1, got 2');
    store.close();
  });
});
