import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, describe, expect, it } from '@jest/globals';
import { type Bucket, BucketService, MemoryStore, RateLimitExceededException } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { slotsOf } from '../../src/concurrency/slots.js';

const clock = new FakeClock();
const stores: MemoryStore[] = [];
const openStore = () => {
  const store = new MemoryStore({ clock });
  stores.push(store);
  return store;
};

describe('a slot of Bucket', () => {
  afterEach(() => {
    for (const store of stores.splice(0)) store.close();
  });

  it('is taken at once while slots are free', async () => {
    const bucket = new BucketService(openStore()).bucket({ concurrency: 2 }, 'key');
    const first = await bucket.acquire();
    expect(first.decision).toMatchObject({ allowed: true, limit: 2, remaining: 1 });
    const second = await bucket.tryAcquire();
    expect(second?.decision).toMatchObject({ remaining: 0 });
    expect(await bucket.tryAcquire()).toBeUndefined();
    await first.release();
    await first.release();
    expect(await bucket.tryAcquire()).toBeDefined();
    expect(await bucket.tryAcquire()).toBeUndefined();
  });

  it('is free for a take that follows its release in the same turn', async () => {
    const bucket = new BucketService(openStore()).bucket({ concurrency: 1 }, 'key');
    const slot = await bucket.acquire();
    void slot.release();
    expect(await bucket.tryAcquire()).toBeDefined();
  });

  it('goes to the requests that wait, in their order', async () => {
    const bucket = new BucketService(openStore()).bucket({ concurrency: 1 }, 'key');
    const order: number[] = [];
    let slot = await bucket.acquire();
    const waiting = [1, 2, 3].map(async (n) => {
      const taken = await bucket.acquire();
      order.push(n);
      return taken;
    });
    await clock.advance(0);
    expect(await bucket.tryAcquire()).toBeUndefined();
    for (const next of waiting) {
      await slot.release();
      slot = await next;
    }
    expect(order).toEqual([1, 2, 3]);
  });

  it('is denied when `maxWait` has passed', async () => {
    const store = openStore();
    const bucket = new BucketService(store).bucket({ concurrency: 1 }, 'key');
    const slot = await bucket.acquire();
    const late = bucket.acquire({ maxWait: '5s' });
    const rejected = expect(late).rejects.toThrow(RateLimitExceededException);
    await clock.advance(5000);
    await rejected;
    await slot.release();
    expect(await bucket.tryAcquire()).toBeDefined();
  });

  it('ends the wait with the reason of its signal', async () => {
    const bucket = new BucketService(openStore()).bucket({ concurrency: 1 }, 'key');
    const slot = await bucket.acquire();
    const abort = new AbortController();
    const late = bucket.acquire({ signal: abort.signal });
    await clock.advance(0);
    abort.abort(new Error('enough'));
    await expect(late).rejects.toThrow('enough');
    await slot.release();
    expect(await bucket.tryAcquire()).toBeDefined();
  });

  it('rejects all waits with 503 when the application closes', async () => {
    const buckets = new BucketService(openStore());
    const bucket = buckets.bucket({ concurrency: 1 }, 'key');
    await bucket.acquire();
    const late = bucket.acquire();
    await clock.advance(0);
    buckets.onModuleDestroy();
    await expect(late).rejects.toThrow('The application is shutting down');
  });

  it('is taken together with the tokens of other limits, or not at all', async () => {
    const limits = [{ concurrency: 1 }, { capacity: 2, refill: 1 }];
    const bucket = new BucketService(openStore()).bucket({ name: 'both', limits }, 'key');
    const slot = await bucket.acquire();
    const waiting = bucket.acquire();
    await clock.advance(100);
    expect((await bucket.estimate()).limits).toMatchObject([{ remaining: 0 }, { remaining: 1.1 }]);
    await slot.release();
    await (await waiting).release();
    expect((await bucket.estimate()).limits).toMatchObject([{ remaining: 1 }, { remaining: 0.1 }]);
  });

  it('is held while the tokens of other limits are awaited, and released if that wait is aborted', async () => {
    const limits = [{ concurrency: 2 }, { capacity: 1, refill: 1 }];
    const bucket = new BucketService(openStore()).bucket({ name: 'both', limits }, 'key');
    await (await bucket.acquire()).release();
    const abort = new AbortController();
    const waiting = bucket.acquire({ signal: abort.signal });
    await clock.advance(500);
    expect((await bucket.estimate()).limits).toMatchObject([{ remaining: 1 }, { remaining: 0 }]);
    abort.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    expect((await bucket.estimate()).limits).toMatchObject([{ remaining: 2 }, { remaining: 0.5 }]);
  });

  it('is released when the work of `hold` ends or fails', async () => {
    const bucket = new BucketService(openStore()).bucket({ concurrency: 1 }, 'key');
    expect(await bucket.hold((signal) => signal.aborted)).toBe(false);
    await expect(bucket.hold(() => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
    expect(await bucket.available()).toBe(1);
  });

  it('is released at the end of its block', async () => {
    const bucket = new BucketService(openStore()).bucket({ concurrency: 1 }, 'key');
    {
      await using slot = await bucket.acquire();
      expect(slot.signal.aborted).toBe(false);
    }
    expect(await bucket.available()).toBe(1);
  });

  it('is published when it is granted and when it is released, if the grant was', async () => {
    const messages: unknown[] = [];
    const listen = (message: unknown) => messages.push(message);
    const bucket = new BucketService(openStore()).bucket({ name: 'pdf', concurrency: 2 }, 'key');
    const unheard = await bucket.acquire();
    subscribe('nest-rate-limit:slot', listen);
    const slot = await bucket.acquire();
    await bucket.tryAcquire();
    await unheard.release();
    await clock.advance(700);
    for (let i = 0; i < 2; i++) await slot.release();
    unsubscribe('nest-rate-limit:slot', listen);
    expect(messages).toEqual([
      { policy: 'pdf', key: 'key', held: 0, event: 'granted' },
      { policy: 'pdf', key: 'key', held: 700, event: 'released' },
    ]);
  });

  it('is published when it is held for longer than `maxHold`', async () => {
    const messages: unknown[] = [];
    const listen = (message: unknown) => messages.push(message);
    subscribe('nest-rate-limit:slot-held-too-long', listen);
    const bucket = new BucketService(openStore()).bucket({ name: 'pdf', concurrency: 2 }, 'key');
    const [short] = [await bucket.acquire({ maxHold: '1s' }), await bucket.acquire({ maxHold: '1s' })];
    await clock.advance(999);
    await short.release();
    await clock.advance(1);
    unsubscribe('nest-rate-limit:slot-held-too-long', listen);
    expect(messages).toEqual([{ policy: 'pdf', key: 'key', held: 1000 }]);
  });

  it.each([
    ['tryConsume', (bucket: Bucket) => bucket.tryConsume()],
    ['decide', (bucket: Bucket) => bucket.decide()],
    ['consume', (bucket: Bucket) => bucket.consume()],
    ['consumeUpTo', (bucket: Bucket) => bucket.consumeUpTo(1)],
    ['charge', (bucket: Bucket) => bucket.charge()],
    ['put', (bucket: Bucket) => bucket.put()],
  ])('is not what %s takes', async (_name, call) => {
    const bucket = new BucketService(openStore()).bucket({ name: 'pdf', concurrency: 2 }, 'key');
    await expect(call(bucket)).rejects.toThrow(
      new RangeError('policy pdf has a concurrency limit, whose slots are held: use acquire() or hold()'),
    );
  });

  it('is not what `decideAll` takes', async () => {
    const requests = [{ policy: { concurrency: 1 }, key: 'key' }];
    await expect(new BucketService(openStore()).decideAll(requests)).rejects.toThrow(RangeError);
  });

  it.each([
    ['acquire', (bucket: Bucket) => bucket.acquire()],
    ['tryAcquire', (bucket: Bucket) => bucket.tryAcquire()],
    ['hold', (bucket: Bucket) => bucket.hold(() => 1)],
  ])('is not what %s takes without a concurrency limit', async (_name, call) => {
    const bucket = new BucketService(openStore()).bucket({ name: 'mail', capacity: 2, refill: 1 }, 'key');
    await expect(call(bucket)).rejects.toThrow(
      new RangeError('policy mail has no concurrency limit, only tokens: use consume() or tryConsume()'),
    );
  });

  it('leaves nothing behind', async () => {
    const store = openStore();
    const bucket = new BucketService(store).bucket({ concurrency: 2 }, 'key');
    const slots = await Promise.all([bucket.acquire(), bucket.acquire()]);
    const waiting = Promise.all([bucket.acquire(), bucket.acquire()]);
    await clock.advance(0);
    for (const slot of slots) await slot.release();
    for (const slot of await waiting) await slot.release();
    await clock.advance(2000);
    expect({ buckets: slotsOf(store).size, sleeping: clock.sleeping }).toEqual({ buckets: 0, sleeping: 0 });
  });
});
