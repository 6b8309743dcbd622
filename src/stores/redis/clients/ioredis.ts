import type { Cluster, ClusterOptions, Redis, RedisOptions } from 'ioredis';
import { later } from '../../../util/clock.js';
import { RateLimitStoreError } from '../../rate-limit.store.js';

/** A connection of ioredis (5 or 6) or iovalkey: the few methods of it that are called here. */
export interface RedisClient {
  readonly isCluster?: boolean;
  readonly status?: string;
  readonly options?: { keyPrefix?: string; readOnly?: boolean };
  evalsha(sha: string, keyCount: number, ...args: string[]): Promise<unknown>;
  subscribe(...channels: string[]): Promise<unknown>;
  unsubscribe(...channels: string[]): Promise<unknown>;
  time(): Promise<readonly (number | string)[]>;
  on(event: string, listener: (...args: string[]) => void): unknown;
  removeListener(event: string, listener: (...args: string[]) => void): unknown;
  disconnect(): void;
}

/** Methods that it has as well, though its types do not tell; they reply bytes. */
export interface ByteClient extends RedisClient {
  evalshaBuffer(sha: string, keyCount: number, ...args: string[]): Promise<unknown>;
  evalBuffer(script: string, keyCount: number, ...args: string[]): Promise<unknown>;
}

/** What `store: { redis }` takes: a url, options of ioredis, or a connection of your own, which stays yours to close. */
export type RedisTarget = string | RedisOptions | Redis | Cluster;

export function isClient(target: unknown): target is ByteClient {
  return typeof target === 'object' && target !== null && typeof (target as ByteClient).evalshaBuffer === 'function';
}

/** ms after which a silent connection is given up. */
const SILENCE = 2000;

/**
 * Settings of a connection that the module opens. Nothing waits in a queue while Redis is away, and nothing is sent
 * twice: a decision that was given up must not be made later. A connection that has fallen silent, or leads to a server
 * that has become a replica, is opened anew.
 */
const SAFE: RedisOptions = {
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: SILENCE,
  socketTimeout: SILENCE,
  disconnectTimeout: 200,
  maxLoadingRetryTime: 500,
  retryStrategy: (attempt) => Math.min(50 * attempt, 500),
  reconnectOnError: ({ message }) => message.includes('READONLY'),
};

/** What last kept a connection that was opened here from being ready. */
const troubles = new WeakMap<object, Error>();

/**
 * Opens a connection and waits until it is ready, has failed for the first time, or has been silent for long; then it
 * goes on trying by itself.
 */
export async function openClient(target: string | RedisOptions): Promise<RedisClient> {
  const { Redis } = await import('ioredis');
  const client =
    typeof target === 'string' ? new Redis(target, SAFE) : new Redis({ ...SAFE, ...target, lazyConnect: false });
  // Without a listener each failed attempt would be printed.
  client.on('error', (error) => troubles.set(client, error));
  client.on('ready', () => troubles.delete(client));
  await new Promise<void>((resolve) => {
    client.once('ready', resolve);
    client.once('close', resolve);
    later(SILENCE, resolve);
  });
  return client as unknown as RedisClient;
}

/** Asks for an answer; rejects if there is none within the time in which a silent connection is given up. */
export async function knock(client: RedisClient): Promise<void> {
  let trouble = troubles.get(client);
  const hear = (error: unknown): void => {
    trouble = error as Error;
  };
  const silence = new Promise<never>((_, reject) => {
    later(SILENCE, () => reject(new Error(`silent for ${SILENCE} ms`)));
  });
  client.on('error', hear);
  try {
    await Promise.race([client.time(), silence]);
  } catch (error) {
    // A command that cannot be sent does not say why.
    const cause = trouble ?? (error as Error);
    throw new RateLimitStoreError(`Redis at ${addressOf(client)} did not answer: ${cause.message}`, 'store', { cause });
  } finally {
    client.removeListener('error', hear);
  }
}

/** Why a connection is not ready; `undefined` if it is, or opens with its first command. */
export function notReady(client: RedisClient): RateLimitStoreError | undefined {
  const { status = 'ready' } = client;
  if (status === 'ready' || status === 'wait') return undefined;
  const cause = troubles.get(client);
  return new RateLimitStoreError(`Redis at ${addressOf(client)} is not ready: ${cause?.message ?? status}`, 'store', {
    cause,
  });
}

/** Where it leads to, without user and password. */
function addressOf({ isCluster, options }: RedisClient): string {
  const { path, host, port, name, sentinels } = (options ?? {}) as RedisOptions;
  if (isCluster) return 'its Cluster';
  if (sentinels) return `${name}, of ${sentinels.map((one) => `${one.host}:${one.port}`).join(', ')}`;
  return path ?? `${host}:${port}`;
}

/** A second connection that may wait and listen. */
export function listenerOf(client: RedisClient): RedisClient {
  const patient = { enableOfflineQueue: true, maxRetriesPerRequest: null };
  const listener: RedisClient = client.isCluster
    ? (client as unknown as Cluster).duplicate([], patient as ClusterOptions)
    : (client as unknown as Redis).duplicate(patient);
  listener.on('error', () => {});
  return listener;
}

/** What of a connection's settings does not suit the store. */
export function unsuitableSettings({ isCluster, options = {} }: RedisClient): string[] {
  const found: string[] = [];
  if (options.readOnly) found.push('`readOnly` asks replicas, which cannot take tokens');
  if (isCluster && options.keyPrefix?.includes('{')) {
    found.push('`keyPrefix` with a brace puts all buckets into one slot of the Cluster');
  }
  return found;
}
