export { TimeUnit, type Duration } from './core/duration.js';
export { MemoryStore } from './stores/memory/memory.store.js';
export { RedisStore } from './stores/redis/redis.store.js';
