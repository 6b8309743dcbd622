import { afterAll, describe, expect, it, jest } from '@jest/globals';
import { Test } from '@nestjs/testing';
import { Redis } from 'ioredis';
import {
  BucketService,
  MemoryStore,
  RateLimitModule,
  RateLimitStore,
  RedisStore,
  type StoreRequest,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { redisUrl } from '../support/redis.js';

const POOL = { name: 'pool', capacity: 1, refill: 0 };
const failure = { mode: 'closed', timeout: '5s' } as const;

/** A custom store: the module wraps it because it may fail. */
class CustomStore extends RateLimitStore {
  readonly clock = new FakeClock();
  private readonly memory = new MemoryStore({ clock: this.clock });

  override async run(request: StoreRequest) {
    return this.memory.run(request);
  }

  override subscribe(...args: Parameters<RateLimitStore['subscribe']>) {
    return this.memory.subscribe(...args);
  }

  override close(): void {
    this.memory.close();
  }
}

const client = new Redis(redisUrl());
afterAll(() => client.quit());

async function open(store: RateLimitStore) {
  const app = await Test.createTestingModule({ imports: [RateLimitModule.forRoot({ store, failure })] }).compile();
  await app.init();
  return { app, buckets: app.get(BucketService) };
}

describe('a store that two applications share', () => {
  it.each<[string, () => RateLimitStore]>([
    ['MemoryStore', () => new MemoryStore({ clock: new FakeClock() })],
    ['RedisStore', () => new RedisStore({ client, prefix: `shared-${process.pid}:` })],
    ['a custom store', () => new CustomStore()],
  ])('is closed only when the last application closes: %s', async (_, make) => {
    const store = make();
    const close = jest.spyOn(store, 'close');
    const [first, second] = [await open(store), await open(store)];
    await second.buckets.bucket(POOL, 'key').consumeUpTo(1);
    await first.app.close();
    expect(close).not.toHaveBeenCalled();
    const watching = second.buckets.bucket(POOL, 'key').watch();
    await second.buckets.bucket(POOL, 'key').put();
    await watching;
    await second.app.close();
    expect(close).toHaveBeenCalledTimes(1);
  });

  it('is closed by each of two applications that use it one after the other', async () => {
    const store = new MemoryStore({ clock: new FakeClock() });
    const close = jest.spyOn(store, 'close');
    for (let i = 1; i <= 2; i++) {
      const { app } = await open(store);
      await app.close();
      expect(close).toHaveBeenCalledTimes(i);
    }
  });
});
