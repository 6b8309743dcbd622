import type { Redis, RedisOptions } from 'ioredis';
import { RateLimitStoreError } from '../../../exceptions/rate-limit-store.error.js';
import { warnOnce } from '../../../observe/logger.js';
import { laterAwake } from '../../../util/clock.js';
import { safeError } from './client-error.js';
import type { IoredisClient, RedisClient } from './redis-client.js';
import { nextEvent } from './shared-listeners.js';

/**
 * What `store: { redis }` accepts: a URL, ioredis options, or your own client of ioredis, iovalkey, node-redis or Valkey
 * GLIDE, which the store never closes.
 */
export type RedisTarget = string | RedisOptions | RedisClient;

/** How long a connection may be silent, in ms, before it counts as lost. */
const SILENCE_TIMEOUT = 2000;

/**
 * Defaults for connections that the module opens. Commands are neither queued while Redis is unavailable nor sent
 * twice, because a request that has timed out must not take tokens later. The client reconnects if the connection falls
 * silent, or if its server has become a replica.
 */
const DEFAULT_OPTIONS: RedisOptions = {
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: SILENCE_TIMEOUT,
  disconnectTimeout: 200,
  maxLoadingRetryTime: 500,
  retryStrategy: retryDelay,
  reconnectOnError: ({ message }) => message.includes('READONLY'),
};

/** ms until attempt number `attempt` to connect; never gives up. */
export function retryDelay(attempt: number): number {
  return Math.min(50 * attempt, 500);
}

/** The last error of each connection that `openClient` opened and that is not ready. */
const connectionErrors = new WeakMap<object, Error>();

/**
 * Opens a connection. Resolves when it is ready, when the first attempt has failed, or after 2 seconds of silence;
 * ioredis then keeps reconnecting. Rejects if the server rejects the database, because ioredis would use database 0.
 */
export async function openClient(options: RedisOptions, timeout: number): Promise<IoredisClient> {
  const { Redis } = await import('ioredis');
  // A connection must not close before the deadline of a command.
  const socketTimeout = timeout < Infinity ? Math.max(SILENCE_TIMEOUT, timeout) : SILENCE_TIMEOUT;
  const client = new Redis({ ...DEFAULT_OPTIONS, socketTimeout, ...options, lazyConnect: false });
  let isOpening = true;
  let rejection: RateLimitStoreError | undefined;
  // Without a listener, ioredis prints each failed attempt.
  client.on('error', (error: Error & { command?: { name: string } }) => {
    if (error.command?.name !== 'select') return void connectionErrors.set(client, safeError(error));
    rejection = rejectedDatabase(client as unknown as IoredisClient, error);
    if (!isOpening) warnOnce.about(rejection.message, rejection.message);
  });
  client.on('ready', () => connectionErrors.delete(client));
  ignoreLaterErrors(client as unknown as IoredisClient);
  await new Promise<void>((resolve) => {
    client.once('ready', resolve);
    client.once('close', resolve);
    laterAwake(SILENCE_TIMEOUT, resolve);
  });
  isOpening = false;
  if (!rejection) return client as unknown as IoredisClient;
  client.disconnect();
  throw rejection;
}

/**
 * ioredis listens for one error of each socket. With TLS there can be two, for example if the connection is closed during
 * a handshake that fails; the second would end the process.
 */
export function ignoreLaterErrors(client: IoredisClient): void {
  const ignore = () => {};
  client.on('error', () => (client as unknown as Redis).stream?.off('error', ignore).on('error', ignore));
}

function rejectedDatabase(client: IoredisClient, error: Error): RateLimitStoreError {
  const cause = safeError(error);
  const { db } = client.options as RedisOptions;
  const message = `${serverName(client)} rejects \`db: ${db}\`, and ioredis would use database 0: ${cause.message}`;
  return new RateLimitStoreError(message, 'store', { cause });
}

/** Resolves when the connection is ready, also if it is the first command that opens it. */
export async function whenReady(client: IoredisClient): Promise<void> {
  const { status = 'ready' } = client;
  if (status === 'ready') return;
  if (status === 'end') throw new Error('the connection is closed');
  if (status === 'wait') (client as unknown as Redis).connect().catch(() => {});
  await nextEvent(client, 'ready');
}

/** Why a connection is not ready; `undefined` if it is, or if its first command will open it. */
export function readinessError(client: IoredisClient): RateLimitStoreError | undefined {
  const { status = 'ready' } = client;
  if (status === 'ready' || status === 'wait') return undefined;
  const cause = connectionErrors.get(client);
  return new RateLimitStoreError(`${serverName(client)} is not ready: ${cause?.message ?? status}`, 'store', { cause });
}

/** The server of a connection, without user and password. */
export function serverName({ isCluster, options }: IoredisClient): string {
  const { path, host, port, name, sentinels } = (options ?? {}) as RedisOptions;
  if (isCluster) return 'Redis Cluster';
  if (sentinels) {
    return `Redis master "${name}" (Sentinels ${sentinels.map((one) => `${one.host}:${one.port}`).join(', ')})`;
  }
  return `Redis at ${path ?? `${host}:${port}`}`;
}
