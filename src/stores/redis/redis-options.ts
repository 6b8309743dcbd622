import type { Clock } from '../../util/clock.js';
import { checkOptionNames, invalidOption } from '../../util/option-error.js';
import type { ClientPort } from './clients/client-port.js';
import { portOf } from './clients/port-of.js';
import type { RedisClient } from './clients/redis-client.js';

/** Options of `RedisStore`. */
export interface RedisStoreOptions {
  /** A client of ioredis, node-redis or Valkey GLIDE. The store does not close it. */
  client: RedisClient;
  /**
   * A second client, of any of these libraries, on which the store subscribes for `watch`. It must not be used for
   * anything else, and is not closed. Default: a connection like that of `client`; a client of GLIDE cannot open one.
   */
  subscriber?: RedisClient;
  /** Prefix of all keys; default `rl:`. At most 64 characters, printable ASCII without spaces and braces. */
  prefix?: string;
  /** `true` hashes all user keys, so that no address or name is stored in Redis. Default `false`. */
  hashKeys?: boolean;
  /** `false` sends every request to Redis. By default the module remembers denials for up to a second. */
  denyCache?: boolean;
  /** `false` sends one command per request. By default up to 32 requests of one event loop turn share a command. */
  batch?: boolean;
  /**
   * `true` sends one command per key, because several servers share the keys and each command reaches one of them: behind
   * a proxy that routes commands by their first key. Default: `true` for a `Cluster`, and for any other connection as
   * soon as Redis rejects a command for several keys.
   */
  sharded?: boolean;
  /**
   * Milliseconds after which a request that reaches Redis is not executed. Default: no limit. The module sets it to
   * `failure.timeout`, so that a request that has timed out never takes tokens later.
   */
  timeout?: number;
  /** A clock for tests. Default: the time of the Redis server. */
  clock?: Clock;
}

/** Options of `RedisStore.connect`. */
export interface RedisConnectOptions extends Omit<RedisStoreOptions, 'client'> {
  /** `true` rejects if Redis is unavailable, so that the application does not start. Default `false`. */
  mustConnect?: boolean;
}

const STORE_OPTIONS = ['prefix', 'hashKeys', 'denyCache', 'batch', 'sharded', 'subscriber', 'timeout', 'clock'];

/** The names of all options of `RedisStore.connect`. */
export const REDIS_CONNECT_OPTIONS = [...STORE_OPTIONS, 'mustConnect'];

/** The options of `RedisStore`, checked and with defaults. */
export interface ParsedRedisOptions extends Required<Omit<RedisStoreOptions, 'client' | 'subscriber' | 'clock'>> {
  readonly port: ClientPort;
  readonly subscriber: ClientPort | undefined;
  readonly clock: Clock | undefined;
}

export function parseRedisOptions(options: RedisStoreOptions): ParsedRedisOptions {
  checkOptionNames(options, ['client', ...STORE_OPTIONS]);
  const { client, prefix = 'rl:', hashKeys = false, batch = true, timeout = Infinity, clock } = options;
  const port = portOf(client) ?? invalidOption('client', CLIENT, client);
  const subscriber = options.subscriber === undefined ? undefined : parseSubscriber(options.subscriber, client);
  const { sharded = port.isCluster } = options;
  if (typeof sharded !== 'boolean') invalidOption('sharded', 'true or false', sharded);
  if (typeof prefix !== 'string' || !/^[\x21-\x7a|~]{0,64}$/.test(prefix)) {
    invalidOption('prefix', 'at most 64 characters of printable ASCII without spaces and braces', prefix);
  }
  return { port, subscriber, prefix, hashKeys, batch, sharded, denyCache: options.denyCache ?? true, timeout, clock };
}

const CLIENT = 'a client of ioredis, node-redis or Valkey GLIDE';

function parseSubscriber(subscriber: RedisClient, client: RedisClient): ClientPort {
  const port = subscriber === client ? undefined : portOf(subscriber);
  return port ?? invalidOption('subscriber', `${CLIENT}, other than \`client\``, subscriber);
}
