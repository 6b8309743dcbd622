import type { RedisOptions } from 'ioredis';
import { invalidSecretOption, RateLimitOptionError } from '../../../util/option-error.js';
import { parseIoredisOptions } from './ioredis-options.js';
import { isRedisClient, type RedisClient } from './redis-client.js';
import { isRedisUrl, parseRedisUrl } from './redis-url.js';

const RULE = 'a redis:// url, ioredis options, or a client of ioredis, node-redis or Valkey GLIDE';

/** A client, or the options of one to be opened. Throws a `RateLimitOptionError`, in which `place` is the option. */
export function parseRedisTarget(target: unknown, place: string): RedisClient | RedisOptions {
  if (isRedisClient(target)) return target;
  if (typeof target === 'string' && isRedisUrl(target)) return parseRedisUrl(target, place);
  if (typeof target !== 'object' || target === null || Array.isArray(target)) {
    return invalidSecretOption(place, RULE, target);
  }
  const foreign = foreignObject(target);
  if (foreign) throw new RateLimitOptionError(`\`${place}\` must be ${RULE}, got ${foreign}`);
  return parseIoredisOptions(target, place);
}

/** What an object is that is neither a supported client nor options, and the fix. */
function foreignObject(target: object): string | undefined {
  const has = (method: string) => typeof (target as Record<string, unknown>)[method] === 'function';
  if (has('then')) return 'a promise; await it, for example in the factory of `forRootAsync`';
  if (has('customCommand')) return 'another client of Valkey GLIDE; create a `GlideClient` or `GlideClusterClient`';
  if (has('sendCommand')) return NODE_REDIS;
  if (has('eval')) return 'a client of another library; create one with ioredis';
  return undefined;
}

const NODE_REDIS =
  'another client of node-redis; create one with `createClient`, `createCluster` or `createSentinel` of redis 5';
