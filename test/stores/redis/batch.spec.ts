import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Redis } from 'ioredis';
import { BucketService, MemoryStore, RateLimitStoreError, RedisStore, type RedisStoreOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { plainAnswer } from '../../../src/core/answer.js';
import { type LimitOptions, parsePolicy } from '../../../src/core/policy.js';
import type { StoreRequest, Take } from '../../../src/core/request.js';
import { redisKey } from '../../../src/stores/redis/redis-key.js';
import { redisUrl } from '../../support/redis.js';

const BUCKET = { name: 'bucket', capacity: 5, refill: 1 };
const SLOTS = { name: 'slots', concurrency: 2 };
const WINDOW = { name: 'window', duration: 10, maxRequest: 3 };

const take = (policy: LimitOptions, key: string, n = 1): Take => ({
  policy: parsePolicy(policy, 'test'),
  key,
  amount: n * 1000,
  maxWait: 0,
});

describe('RedisStore batching', () => {
  const client = new Redis(redisUrl());
  // Missing in the types of ioredis.
  const bytes = client as unknown as { evalshaBuffer(...args: unknown[]): Promise<unknown> };
  const evalshaBuffer = bytes.evalshaBuffer.bind(client);
  let storeCount = 0;
  let sent: number[];

  beforeAll(async () => {
    // Loads the script; otherwise the first call is sent twice.
    await new RedisStore({ client }).run({ verb: 'estimate', takes: [take(BUCKET, 'first')] });
    jest.spyOn(bytes, 'evalshaBuffer').mockImplementation((...args: unknown[]) => {
      sent.push(String(args.at(-1)).length);
      return evalshaBuffer(...args);
    });
  });
  afterEach(() => {
    sent = [];
  });
  afterAll(() => client.quit());

  function open(options: Partial<RedisStoreOptions> = {}): RedisStore {
    sent = [];
    return new RedisStore({
      client,
      clock: new FakeClock(),
      prefix: `batch-${process.pid}-${storeCount++}:`,
      ...options,
    });
  }

  it('sends the requests of one turn in one call, and answers each', async () => {
    const store = open();
    const answers = await Promise.all(
      Array.from({ length: 32 }, (_, i) =>
        store.run({ verb: 'take', takes: [take(BUCKET, `key-${i % 16}`, 1 + (i % 5))] }),
      ),
    );
    expect(sent).toHaveLength(1);
    expect(answers).toHaveLength(32);
    answers.forEach(({ taken, allowed }, i) => {
      expect([i, taken]).toEqual([i, allowed ? 1 + (i % 5) : 0]);
    });
  });

  it.each([
    ['release', 'acquire'],
    ['acquire', 'release'],
  ])('sends the takes and the reports of slots of one turn in one call: %s, %s', async (...order) => {
    const buckets = new BucketService(open());
    const [held, other] = ['held', 'other'].map((key) => buckets.bucket(SLOTS, key));
    const slot = await held.acquire();
    sent = [];
    await Promise.all(order.map((call) => (call === 'release' ? slot.release() : other.acquire())));
    expect(sent).toHaveLength(1);
    expect(await held.available()).toBe(2);
  });

  it('sends at most 32 requests per call', async () => {
    const store = open();
    await Promise.all(
      Array.from({ length: 300 }, (_, i) => store.run({ verb: 'take', takes: [take(BUCKET, `${i}`)] })),
    );
    expect(sent).toHaveLength(10);
  });

  it('executes requests in order, with the same answers as MemoryStore', async () => {
    const requests: StoreRequest[] = [];
    for (let i = 0; i < 40; i++) {
      const key = `key-${i % 3}`;
      requests.push({ verb: 'take', takes: [take(BUCKET, key, 1 + (i % 2))] });
      requests.push({ verb: 'take', takes: [take(BUCKET, key), take(WINDOW, key)] });
      requests.push({ verb: 'take', takes: [take(WINDOW, key), take(BUCKET, 'all', 0.5)] });
      if (i % 7 === 0) requests.push({ verb: 'put', takes: [take(BUCKET, key, 2)] });
      if (i % 11 === 0) requests.push({ verb: 'estimate', takes: [take(BUCKET, key, 3)] });
      if (i % 13 === 0) requests.push({ verb: 'block', takes: [take(BUCKET, key, 0)], duration: 100 });
      if (i % 17 === 0) requests.push({ verb: 'reset', takes: [take(BUCKET, key, 0)] });
      if (i % 19 === 0) requests.push({ verb: 'charge', takes: [take(BUCKET, key, 2)] });
    }
    const clock = new FakeClock();
    const memory = new MemoryStore({ clock });
    memory.close();
    const store = open({ clock });
    const answers = await Promise.all(requests.map((request) => store.run(request)));
    expect(sent).toHaveLength(Math.ceil(requests.length / 32));
    for (const [i, request] of requests.entries()) {
      expect([i, plainAnswer(answers[i])]).toEqual([i, plainAnswer(memory.run(request))]);
    }
  });

  it('fails only the requests whose bucket cannot be read', async () => {
    const store = open();
    await store.run({ verb: 'take', takes: [take(BUCKET, 'corrupt')] });
    const [, key] = (await client.keys(`batch-${process.pid}-${storeCount - 1}:*`)).concat('').sort();
    await client.multi().del(key).rpush(key, 'x').exec();
    sent = [];
    const run = (...takes: Take[]) => store.run({ verb: 'take', takes });
    const settled = await Promise.allSettled([
      run(take(BUCKET, 'a')),
      run(take(BUCKET, 'corrupt')),
      run(take(BUCKET, 'b'), take(BUCKET, 'corrupt')),
      run(take(BUCKET, 'b', 2)),
      run(take(BUCKET, 'a')),
    ]);
    expect(sent).toHaveLength(1);
    expect(settled.map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'rejected',
      'fulfilled',
      'fulfilled',
    ]);
    const { reason } = settled[1] as PromiseRejectedResult;
    expect(reason).toBeInstanceOf(RateLimitStoreError);
    expect(reason).toMatchObject({ scope: 'bucket', message: expect.stringContaining(`${key}: WRONGTYPE`) });
    const balances = settled.map((result) => (result.status === 'fulfilled' ? result.value.balance : undefined));
    expect(balances).toEqual([4, undefined, undefined, 3, 3]);
    expect(await client.lrange(key, 0, -1)).toEqual(['x']);
  });

  it('fails every request of a call if none of the buckets can be read', async () => {
    const store = open();
    const corrupt = take(BUCKET, 'corrupt');
    await client.set(redisKey(`batch-${process.pid}-${storeCount - 1}:`, 'corrupt', corrupt.policy), 'foreign');
    const pending = [1, 2].map(() => store.run({ verb: 'take', takes: [corrupt] }));
    for (const result of await Promise.allSettled(pending)) {
      expect(result).toMatchObject({ status: 'rejected', reason: { scope: 'bucket' } });
    }
    expect(sent).toHaveLength(1);
  });

  it('sends requests individually with `batch: false`', async () => {
    const store = open({ batch: false });
    await Promise.all(Array.from({ length: 10 }, (_, i) => store.run({ verb: 'take', takes: [take(BUCKET, `${i}`)] })));
    expect(sent).toHaveLength(10);
  });

  it('sends a single request without a timer, before the next turn of the event loop', async () => {
    const store = open();
    const timers = jest.spyOn(globalThis, 'setTimeout');
    const order: string[] = [];
    const timer = new Promise<void>((resolve) =>
      setTimeout(() => {
        order.push('timer');
        resolve();
      }, 1),
    );
    timers.mockClear();
    const answer = store.run({ verb: 'take', takes: [take(BUCKET, 'single')] });
    setImmediate(() => order.push(`next turn, sent ${sent.length}`));
    await answer;
    await timer;
    expect(timers).not.toHaveBeenCalled();
    expect(order).toContain('next turn, sent 1');
    timers.mockRestore();
  });

  it('needs one round trip and few bytes for three limits', async () => {
    const store = open();
    const policy = { name: 'three', limits: [WINDOW, BUCKET, { capacity: 100, refill: 10 }] };
    await store.run({
      verb: 'take',
      takes: [take({ ...policy, limits: policy.limits.map(({ ...limit }) => limit) }, '203.0.113.7')],
    });
    expect(sent).toHaveLength(1);
    expect(sent[0]).toBeLessThan(200);
  });
});
