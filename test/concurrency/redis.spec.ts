import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from '@jest/globals';
import { BucketService, RedisStore, type Slot } from 'nest-rate-limit';
import { measured } from '../support/lag.js';
import { redisUrl } from '../support/redis.js';
import { until } from '../support/requests.js';

const stores: RedisStore[] = [];
let name = 0;

/** Processes that share one Redis, and the bucket of each. */
async function open(count: number, concurrency: number, slotTtl = '1s' as const) {
  name++;
  const limit = { name: `slots-${process.pid}-${name}`, concurrency, slotTtl };
  const opened = await Promise.all(
    Array.from({ length: count }, () => RedisStore.connect(redisUrl(), { prefix: 'slots:' })),
  );
  stores.push(...opened);
  return opened.map((store) => new BucketService(store).bucket(limit, 'key'));
}

describe('slots in Redis', () => {
  afterEach(() => {
    for (const store of stores.splice(0)) store.close();
  });

  it('pass from one process to another as soon as they are released', async () => {
    const [a, b] = await open(2, 2);
    const slots = [await a.acquire(), await a.acquire()];
    expect(await b.tryAcquire()).toBeUndefined();
    const waiting = b.acquire({ maxWait: '5s' });
    await sleep(100);
    const { value: slot, ms } = await measured(async () => {
      await slots[0].release();
      return waiting;
    });
    expect(ms).toBeLessThan(500);
    expect(slot.decision).toMatchObject({ allowed: true, limit: 2, remaining: 0 });
    await Promise.all([slot.release(), slots[1].release()]);
    expect(await b.available()).toBe(2);
  });

  it('are granted in order although many wait, never more than there are', async () => {
    const [a, b, c] = await open(3, 4);
    let running = 0;
    let most = 0;
    const work = async (slot: Slot) => {
      most = Math.max(most, ++running);
      await sleep(2);
      running--;
      await slot.release();
    };
    await Promise.all([a, b, c].flatMap((each) => Array.from({ length: 50 }, () => each.acquire().then(work))));
    expect(most).toBe(4);
    expect(await a.available()).toBe(4);
  });

  it('are renewed while they are held, and lost when renewals stop', async () => {
    const [a, b] = await open(2, 1);
    const slot = await a.acquire();
    await sleep(2500);
    expect(slot.signal.aborted).toBe(false);
    expect(await b.tryAcquire()).toBeUndefined();
    stores[0].close();
    await until(() => slot.signal.aborted);
    expect(await b.tryAcquire()).toBeDefined();
  });
});
