import type { FailureMode } from '../core/request.js';
import { logger } from '../observe/logger.js';
import type { ParsedModuleOptions, RedisOptionsOfModule } from '../policy/parsed-options.js';
import { MemoryStore } from '../stores/memory/memory.store.js';
import { RateLimitStore, type StoreHealth } from '../stores/rate-limit.store.js';
import { isRedisClient } from '../stores/redis/clients/redis-client.js';
import { RedisStore } from '../stores/redis/redis.store.js';
import { DenyCacheStore } from '../stores/remote/deny-cache.store.js';
import { LeaseStore } from '../stores/remote/lease.store.js';
import { ResilientStore } from '../stores/remote/resilient.store.js';
import { addUser, closeUnlessUsed } from './store-users.js';

/** Creates the store of the options; one that can fail is wrapped by the stores that handle its failures. */
export async function createStore({ store, failure }: ParsedModuleOptions): Promise<RateLimitStore> {
  if (!store) return new MemoryStore();
  if (store instanceof RateLimitStore) addUser(store);
  if (store instanceof MemoryStore) return store;
  const inner = store instanceof RateLimitStore ? store : await connectRedis(store, failure);
  if (inner instanceof RedisStore && inner.timeout > failure.timeout) {
    logger.warn(
      '`timeout` of the RedisStore exceeds `failure.timeout`: requests that timed out may still take tokens. Set it to ' +
        `${failure.timeout}`,
    );
  }
  const leasing = new LeaseStore(
    new ResilientStore(inner, {
      ...failure,
      onHealth: logHealth(failure.mode),
      onUnreadable,
      close: () => closeUnlessUsed(inner),
    }),
  );
  return inner instanceof RedisStore && inner.denyCache ? new DenyCacheStore(leasing) : leasing;
}

async function connectRedis(
  { redis, ...options }: RedisOptionsOfModule,
  { timeout, mode }: ParsedModuleOptions['failure'],
): Promise<RedisStore> {
  const store = await RedisStore.connect(redis, { timeout, ...options });
  const { error } = store.health();
  // A connection of the user's may be about to open, and reports its errors to the user.
  if (error && !isRedisClient(redis)) logger.warn(`${error.message}. Using failure mode "${mode}" until it is`);
  return store;
}

function onUnreadable({ message }: Error): void {
  logger.warn(message);
}

function logHealth(mode: FailureMode): (health: StoreHealth) => void {
  return ({ status, error }) => {
    if (status === 'up') logger.log('Rate limit store available again');
    else logger.error(`Rate limit store unavailable; using failure mode "${mode}": ${error?.message}`);
  };
}
