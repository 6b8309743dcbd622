import { Logger } from '@nestjs/common';
import { MemoryStore } from '../stores/memory/memory.store.js';
import { RateLimitStore, type StoreHealth } from '../stores/rate-limit.store.js';
import { isClient, unsuitableSettings } from '../stores/redis/clients/ioredis.js';
import { RedisStore } from '../stores/redis/redis.store.js';
import { DenyCacheStore } from '../stores/remote/deny-cache.store.js';
import { LeaseStore } from '../stores/remote/lease.store.js';
import { ResilientStore } from '../stores/remote/resilient.store.js';
import type { ParsedModuleOptions, RedisOptionsOfModule } from './module-options.js';

const logger = new Logger('RateLimit');

/** The store of the options; one that can fail in wrappers that see to its failures. */
export async function openStore({ store, failure }: ParsedModuleOptions): Promise<RateLimitStore> {
  if (!store) return new MemoryStore();
  if (store instanceof MemoryStore) return store;
  const inner = store instanceof RateLimitStore ? store : await openRedis(store, failure.timeout);
  if (inner instanceof RedisStore && inner.timeout > failure.timeout) {
    logger.warn('`timeout` of the RedisStore is above `failure.timeout`: what was given up may take tokens later');
  }
  const leasing = new LeaseStore(new ResilientStore(inner, { ...failure, onHealth, onUnreadable }));
  return inner instanceof RedisStore && inner.denyCache ? new DenyCacheStore(leasing) : leasing;
}

async function openRedis({ redis, ...options }: RedisOptionsOfModule, timeout: number): Promise<RedisStore> {
  if (isClient(redis)) for (const found of unsuitableSettings(redis)) logger.warn(`Redis connection: ${found}`);
  const store = await RedisStore.connect(redis, { timeout, ...options });
  const { error } = store.health();
  // A connection of the user's may be about to open, and tells its errors to him.
  if (error && !isClient(redis)) logger.warn(`${error.message}. Until it is, the failure mode decides`);
  return store;
}

function onUnreadable({ message }: Error): void {
  logger.warn(message);
}

function onHealth({ status, error }: StoreHealth): void {
  if (status === 'up') logger.log('The store answers again');
  else logger.error(`The store does not answer, the failure mode decides: ${error?.message}`);
}
