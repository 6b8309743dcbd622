import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { BucketService, type LimitOptions, MemoryStore, RateLimitStoreError, type StoreRequest } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { LeaseStore } from '../../../src/stores/remote/lease.store.js';
import { StoreWrapper } from '../../../src/stores/remote/store-wrapper.js';

const POLICY: LimitOptions = { name: 'lease', capacity: 100, refill: 1, unit: 'hours', lease: 10 };

const turn = () => new Promise(setImmediate);

/** A store that counts how often it is asked, and answers some turns later, as one far away does. */
class FarStore extends StoreWrapper {
  asked = 0;
  /** How often it was asked while it was not being asked already. */
  rounds = 0;
  /** Something else answers. */
  away = false;
  fails = false;
  private underWay = 0;

  constructor(private readonly near: MemoryStore) {
    super(near);
  }

  override async run(request: StoreRequest) {
    if (request.source) return this.near.run(request, request.source);
    this.asked++;
    if (this.underWay++ === 0) this.rounds++;
    await turn();
    await turn();
    this.underWay--;
    if (this.fails) throw new RateLimitStoreError('gone');
    return this.near.run(request, this.away ? 'fallback' : 'store');
  }
}

describe('a lease', () => {
  let clock: FakeClock;
  let near: MemoryStore;
  let far: FarStore;
  let all: BucketService;

  /** A process with leases on the one store. */
  const process = () => {
    const store = new LeaseStore(far);
    return { store, bucket: new BucketService(store).bucket(POLICY, 'key') };
  };

  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    clock = new FakeClock();
    near = new MemoryStore({ clock });
    far = new FarStore(near);
    all = new BucketService(near);
  });
  afterEach(() => {
    near.close();
    jest.useRealTimers();
  });

  it('is asked for once and spent here', async () => {
    const { store, bucket } = process();
    for (let i = 0; i < 10; i++) expect(await bucket.tryConsume()).toBe(true);
    expect(far.asked).toBe(1);
    expect(await bucket.decide()).toMatchObject({ allowed: true, source: 'cache', remaining: 89 });
    expect(far.asked).toBe(2);
    await store.close();
  });

  it('never admits more than the policy allows, over all processes', async () => {
    const processes = [process(), process(), process()];
    const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => processes[i % 3].bucket.tryConsume()));
    expect(answers.filter((allowed) => allowed)).toHaveLength(100);
    expect(await all.bucket(POLICY, 'key').available()).toBe(0);
    for (const { store } of processes) await store.close();
  });

  it('is asked for once by all who come together', async () => {
    const { store, bucket } = process();
    const answers = await Promise.all(Array.from({ length: 10 }, () => bucket.tryConsume()));
    expect(answers).toEqual(new Array(10).fill(true));
    expect(far.asked).toBe(1);
    await store.close();
  });

  it('asks but a few times one after the other, however many come together, with tokens or without', async () => {
    const { store, bucket } = process();
    const answers = await Promise.all(Array.from({ length: 90 }, () => bucket.tryConsume()));
    expect(answers).toEqual(new Array(90).fill(true));
    expect(far.rounds).toBe(2);
    await bucket.tryConsume(10);
    const before = far.rounds;
    const decisions = await Promise.all(Array.from({ length: 100 }, () => bucket.decide()));
    expect(decisions.every(({ allowed, retryAfter }) => !allowed && retryAfter === 3_600_000)).toBe(true);
    expect(far.rounds - before).toBeLessThanOrEqual(2);
    await store.close();
  });

  it('lets nobody wait twice for a store that is away', async () => {
    far.away = true;
    const { store, bucket } = process();
    const decisions = await Promise.all(Array.from({ length: 20 }, () => bucket.decide()));
    expect(new Set(decisions.map(({ source }) => source))).toEqual(new Set(['fallback']));
    expect(far.asked).toBe(1);
    far.away = false;
    expect(await bucket.decide()).toMatchObject({ allowed: true, source: 'cache' });
    await store.close();
  });

  it('keeps what it holds when the rest of a larger request is not there, or cannot be asked for', async () => {
    const { store, bucket } = process();
    await bucket.tryConsume(97);
    expect(await bucket.tryConsume(1)).toBe(true); // of the last three
    far.fails = true;
    await expect(bucket.tryConsume(3)).rejects.toThrow('gone');
    far.fails = false;
    expect(await bucket.tryConsume(3)).toBe(false);
    expect(await bucket.tryConsume(2)).toBe(true);
    await store.close();
  });

  it('keeps what it holds where the bucket is looked at while the rest of a larger request is asked for', async () => {
    const { store, bucket } = process();
    await bucket.tryConsume(97);
    expect(await bucket.tryConsume(1)).toBe(true); // of the last three
    const large = bucket.tryConsume(3);
    const looked = bucket.available();
    expect(await large).toBe(false);
    expect(await looked).toBe(2);
    expect(await bucket.tryConsume(2)).toBe(true);
    expect(await bucket.tryConsume(1)).toBe(false);
    await store.close();
  });

  it('is given back after a second without use', async () => {
    const { store, bucket } = process();
    await bucket.tryConsume(3);
    expect(await all.bucket(POLICY, 'key').available()).toBe(90);
    await clock.advance(1000);
    await jest.advanceTimersByTimeAsync(1000);
    expect(await all.bucket(POLICY, 'key').available()).toBeCloseTo(97, 3);
    await store.close();
  });

  it('is given back when the store is closed', async () => {
    const { store, bucket } = process();
    await bucket.tryConsume();
    await store.close();
    expect(await all.bucket(POLICY, 'key').available()).toBe(99);
  });

  it('is given back before somebody looks at, resets or blocks the whole bucket', async () => {
    const { store, bucket } = process();
    await bucket.tryConsume();
    expect(await bucket.available()).toBe(99);
    await bucket.block('1m');
    expect(await bucket.tryConsume()).toBe(false);
    await store.close();
  });

  it('is not lost where the bucket is looked at while more is asked for', async () => {
    const { store, bucket } = process();
    const taken = Promise.all(Array.from({ length: 11 }, () => bucket.tryConsume()));
    const looked = bucket.available();
    expect(await taken).toEqual(new Array(11).fill(true));
    expect(await looked).toBe(89);
    await store.close();
    expect(await all.bucket(POLICY, 'key').available()).toBe(89);
  });

  it('is given back where the store is closed while it is asked for', async () => {
    const { store, bucket } = process();
    const taken = bucket.tryConsume();
    await store.close();
    expect(await taken).toBe(true);
    expect(await all.bucket(POLICY, 'key').available()).toBe(99);
  });

  it('is not spent twice while the rest of a larger request is asked for', async () => {
    const { store, bucket } = process();
    await bucket.tryConsume();
    // Nine are held. Asked for two more, five of the nine go to others; then for five more, three to others.
    const large = bucket.tryConsume(11);
    const small = [bucket.tryConsume(5)];
    while (far.asked < 3) await turn();
    small.push(bucket.tryConsume(3));
    expect(await Promise.all([large, ...small])).toEqual([true, true, true]);
    await store.close();
    expect(await all.bucket(POLICY, 'key').available()).toBe(80);
  });

  it.each(['block', 'reset'] as const)(
    'is not held any more after a %s, though it was taken during that',
    async (verb) => {
      const { store, bucket } = process();
      await bucket.tryConsume();
      const done = verb === 'block' ? bucket.block('1m') : bucket.reset();
      while (far.asked < 2) await turn();
      const taken = bucket.tryConsume();
      await done;
      expect(await taken).toBe(true);
      const more = await Promise.all(Array.from({ length: 110 }, () => bucket.tryConsume()));
      expect(more.filter((allowed) => allowed)).toHaveLength(verb === 'block' ? 0 : 100);
      await store.close();
    },
  );

  it('does not survive the bucket it was taken from where another is carried over to it', async () => {
    const { store, bucket } = process();
    await bucket.tryConsume();
    const old = new BucketService(store).bucket({ name: 'old', capacity: 100, refill: 0 }, 'key');
    await old.consumeUpTo(100);
    const carried = await old.replacePolicy(POLICY, 'as-is');
    expect(await carried.tryConsume()).toBe(false);
    await store.close();
  });

  it('adds what it holds to what is left for a request that is larger than either', async () => {
    const { store, bucket } = process();
    await bucket.tryConsume(95);
    expect(await bucket.tryConsume(1)).toBe(true);
    expect(await bucket.tryConsume(4)).toBe(true);
    const refused = await bucket.decide(1);
    expect(refused).toMatchObject({ allowed: false, retryAfter: 3_600_000, source: 'store' });
    await store.close();
  });

  it.each([
    [{ maxRequest: 5, lease: 2 }, '`lease` must be left out for a sliding window, where tokens cannot be held'],
    [{ capacity: 5, refill: 1, lease: 6 }, '`lease` must be at most the capacity of 5, got 6'],
    [{ capacity: 5, refill: 1, lease: 0.5 }, '`lease` must be a positive whole number, got 0.5'],
  ])('is refused as %j', (options, message) => {
    expect(() => all.bucket(options, 'key')).toThrow(message);
  });
});
