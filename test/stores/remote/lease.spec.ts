import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { BucketService, type LimitOptions, MemoryStore, RateLimitStoreError, type StoreRequest } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { LeaseStore } from '../../../src/stores/remote/lease.store.js';
import { StoreWrapper } from '../../../src/stores/remote/store-wrapper.js';

const POLICY: LimitOptions = { name: 'lease', capacity: 100, refill: 1, unit: 'hours', lease: 10 };

const turn = () => new Promise(setImmediate);

/** Counts calls, and answers a few turns of the event loop later, like a remote store. */
class RemoteStore extends StoreWrapper {
  calls = 0;
  /** Calls that started while no other was in flight: how many round trips the callers waited for in total. */
  roundTrips = 0;
  /** Answers from the local fallback. */
  unavailable = false;
  fails = false;
  private inFlight = 0;

  constructor(private readonly memory: MemoryStore) {
    super(memory);
  }

  override async run(request: StoreRequest) {
    if (request.source) return this.memory.run(request, request.source);
    this.calls++;
    if (this.inFlight++ === 0) this.roundTrips++;
    await turn();
    await turn();
    this.inFlight--;
    if (this.fails) throw new RateLimitStoreError('simulated failure');
    return this.memory.run(request, this.unavailable ? 'fallback' : 'store');
  }
}

describe('LeaseStore', () => {
  let clock: FakeClock;
  let memory: MemoryStore;
  let remote: RemoteStore;
  /** Accesses the buckets without leases. */
  let direct: BucketService;

  /** Opens the store of one process, in front of the shared remote store. */
  const openProcess = () => {
    const store = new LeaseStore(remote);
    return { store, bucket: new BucketService(store).bucket(POLICY, 'key') };
  };

  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    clock = new FakeClock();
    memory = new MemoryStore({ clock });
    remote = new RemoteStore(memory);
    direct = new BucketService(memory);
  });
  afterEach(() => {
    memory.close();
    jest.useRealTimers();
  });

  it('takes one lease and spends it locally', async () => {
    const { store, bucket } = openProcess();
    for (let i = 0; i < 10; i++) expect(await bucket.tryConsume()).toBe(true);
    expect(remote.calls).toBe(1);
    expect(await bucket.decide()).toMatchObject({ allowed: true, source: 'cache', remaining: 89 });
    expect(remote.calls).toBe(2);
    await store.close();
  });

  it('never admits more than the policy allows across all processes', async () => {
    const processes = [openProcess(), openProcess(), openProcess()];
    const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => processes[i % 3].bucket.tryConsume()));
    expect(answers.filter((allowed) => allowed)).toHaveLength(100);
    expect(await direct.bucket(POLICY, 'key').available()).toBe(0);
    for (const { store } of processes) await store.close();
  });

  it('shares one refill among concurrent requests', async () => {
    const { store, bucket } = openProcess();
    const answers = await Promise.all(Array.from({ length: 10 }, () => bucket.tryConsume()));
    expect(answers).toEqual(new Array(10).fill(true));
    expect(remote.calls).toBe(1);
    await store.close();
  });

  it('coalesces concurrent refills into at most two round trips, with or without tokens left', async () => {
    const { store, bucket } = openProcess();
    const answers = await Promise.all(Array.from({ length: 90 }, () => bucket.tryConsume()));
    expect(answers).toEqual(new Array(90).fill(true));
    expect(remote.roundTrips).toBe(2);
    await bucket.tryConsume(10);
    const before = remote.roundTrips;
    const decisions = await Promise.all(Array.from({ length: 100 }, () => bucket.decide()));
    expect(decisions.every(({ allowed, retryAfter }) => !allowed && retryAfter === 3_600_000)).toBe(true);
    expect(remote.roundTrips - before).toBeLessThanOrEqual(2);
    await store.close();
  });

  it('waits at most once for an unavailable store', async () => {
    remote.unavailable = true;
    const { store, bucket } = openProcess();
    const decisions = await Promise.all(Array.from({ length: 20 }, () => bucket.decide()));
    expect(new Set(decisions.map(({ source }) => source))).toEqual(new Set(['fallback']));
    expect(remote.calls).toBe(1);
    remote.unavailable = false;
    expect(await bucket.decide()).toMatchObject({ allowed: true, source: 'cache' });
    await store.close();
  });

  it('keeps held tokens if the rest of a larger request is denied or fails', async () => {
    const { store, bucket } = openProcess();
    await bucket.tryConsume(97);
    expect(await bucket.tryConsume(1)).toBe(true); // one of the last three
    remote.fails = true;
    await expect(bucket.tryConsume(3)).rejects.toThrow('simulated failure');
    remote.fails = false;
    expect(await bucket.tryConsume(3)).toBe(false);
    expect(await bucket.tryConsume(2)).toBe(true);
    await store.close();
  });

  it('keeps held tokens if `available` is called while the rest of a larger request is in flight', async () => {
    const { store, bucket } = openProcess();
    await bucket.tryConsume(97);
    expect(await bucket.tryConsume(1)).toBe(true); // one of the last three
    const large = bucket.tryConsume(3);
    const available = bucket.available();
    expect(await large).toBe(false);
    expect(await available).toBe(2);
    expect(await bucket.tryConsume(2)).toBe(true);
    expect(await bucket.tryConsume(1)).toBe(false);
    await store.close();
  });

  it('refunds held tokens after a second of inactivity', async () => {
    const { store, bucket } = openProcess();
    await bucket.tryConsume(3);
    expect(await direct.bucket(POLICY, 'key').available()).toBe(90);
    await clock.advance(1000);
    await jest.advanceTimersByTimeAsync(1000);
    expect(await direct.bucket(POLICY, 'key').available()).toBeCloseTo(97, 3);
    await store.close();
  });

  it('refunds held tokens on close', async () => {
    const { store, bucket } = openProcess();
    await bucket.tryConsume();
    await store.close();
    expect(await direct.bucket(POLICY, 'key').available()).toBe(99);
  });

  it('refunds held tokens before it reads or blocks the bucket', async () => {
    const { store, bucket } = openProcess();
    await bucket.tryConsume();
    expect(await bucket.available()).toBe(99);
    await bucket.block('1m');
    expect(await bucket.tryConsume()).toBe(false);
    await store.close();
  });

  it('loses no tokens if `available` is called while a refill is in flight', async () => {
    const { store, bucket } = openProcess();
    const taken = Promise.all(Array.from({ length: 11 }, () => bucket.tryConsume()));
    const available = bucket.available();
    expect(await taken).toEqual(new Array(11).fill(true));
    expect(await available).toBe(89);
    await store.close();
    expect(await direct.bucket(POLICY, 'key').available()).toBe(89);
  });

  it('refunds the tokens of a refill that is in flight on close', async () => {
    const { store, bucket } = openProcess();
    const taken = bucket.tryConsume();
    await store.close();
    expect(await taken).toBe(true);
    expect(await direct.bucket(POLICY, 'key').available()).toBe(99);
  });

  it('spends no token twice while the rest of a larger request is in flight', async () => {
    const { store, bucket } = openProcess();
    await bucket.tryConsume();
    // Nine tokens are held. The large request needs two more, but five of the nine are spent while that call is in
    // flight. It then needs five more, and three are spent during that call.
    const large = bucket.tryConsume(11);
    const small = [bucket.tryConsume(5)];
    while (remote.calls < 3) await turn();
    small.push(bucket.tryConsume(3));
    expect(await Promise.all([large, ...small])).toEqual([true, true, true]);
    await store.close();
    expect(await direct.bucket(POLICY, 'key').available()).toBe(80);
  });

  it.each(['block', 'reset'] as const)(
    'holds no lease after a %s, even if it was taken during the call',
    async (verb) => {
      const { store, bucket } = openProcess();
      await bucket.tryConsume();
      const done = verb === 'block' ? bucket.block('1m') : bucket.reset();
      while (remote.calls < 2) await turn();
      const taken = bucket.tryConsume();
      await done;
      expect(await taken).toBe(true);
      const more = await Promise.all(Array.from({ length: 110 }, () => bucket.tryConsume()));
      expect(more.filter((allowed) => allowed)).toHaveLength(verb === 'block' ? 0 : 100);
      await store.close();
    },
  );

  it('drops a lease whose bucket is replaced by that of another policy', async () => {
    const { store, bucket } = openProcess();
    await bucket.tryConsume();
    const old = new BucketService(store).bucket({ name: 'old', capacity: 100, refill: 0 }, 'key');
    await old.consumeUpTo(100);
    const replaced = await old.replacePolicy(POLICY, 'as-is');
    expect(await replaced.tryConsume()).toBe(false);
    await store.close();
  });

  it('combines held and remote tokens for a request that exceeds either', async () => {
    const { store, bucket } = openProcess();
    await bucket.tryConsume(95);
    expect(await bucket.tryConsume(1)).toBe(true);
    expect(await bucket.tryConsume(4)).toBe(true);
    const denied = await bucket.decide(1);
    expect(denied).toMatchObject({ allowed: false, retryAfter: 3_600_000, source: 'store' });
    await store.close();
  });

  it.each([
    [{ maxRequest: 5, lease: 2 }, '`lease` must be omitted for a sliding window, whose tokens cannot be held'],
    [
      { capacity: 5, refill: 0, lease: 2 },
      '`lease` must be omitted without a `refill`: what a process holds when it is killed would be missing for good',
    ],
    [
      {
        limits: [
          { capacity: 5, refill: 1 },
          { name: 'total', capacity: 9, refill: 0 },
        ],
        lease: 2,
      },
      '`lease` must be omitted without a `refill`: what a process holds when it is killed would be missing for good',
    ],
    [{ capacity: 5, refill: 1, lease: 6 }, '`lease` must be at most the capacity of 5, got 6'],
    [{ capacity: 5, refill: 1, lease: 0.5 }, '`lease` must be a positive whole number, got 0.5'],
  ])('rejects the policy %j', (options, message) => {
    expect(() => direct.bucket(options, 'key')).toThrow(message);
  });
});
