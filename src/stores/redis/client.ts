import type { Cluster, Redis, RedisOptions } from 'ioredis';

/** A connection of ioredis (5 or 6) or iovalkey: the few methods of it that are called here. */
export interface RedisClient {
  readonly isCluster?: boolean;
  readonly status?: string;
  readonly options?: { keyPrefix?: string };
  evalsha(sha: string, keyCount: number, ...args: string[]): Promise<unknown>;
  eval(script: string, keyCount: number, ...args: string[]): Promise<unknown>;
  subscribe(...channels: string[]): Promise<unknown>;
  unsubscribe(...channels: string[]): Promise<unknown>;
  time(): Promise<readonly (number | string)[]>;
  on(event: string, listener: (...args: string[]) => void): unknown;
  removeListener(event: string, listener: (...args: string[]) => void): unknown;
  disconnect(): void;
}

/** What `store: { redis }` takes: a url, options of ioredis, or a connection of your own, which stays yours to close. */
export type RedisTarget = string | RedisOptions | Redis | Cluster;

export function isClient(target: unknown): target is RedisClient {
  return typeof target === 'object' && target !== null && typeof (target as RedisClient).evalsha === 'function';
}

/**
 * Settings of a connection that the module opens. Nothing waits in a queue while Redis is away, and nothing is sent
 * twice: a decision that was given up must not be made later.
 */
const SAFE: RedisOptions = {
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: 2000,
  retryStrategy: (attempt) => Math.min(50 * attempt, 1000),
};

/** Opens a connection and waits until it is ready or has failed for the first time; then it goes on trying by itself. */
export async function openClient(target: string | RedisOptions): Promise<Redis> {
  const { Redis } = await import('ioredis');
  const client =
    typeof target === 'string' ? new Redis(target, SAFE) : new Redis({ ...SAFE, ...target, lazyConnect: false });
  await new Promise<void>((resolve) => {
    client.once('ready', resolve);
    client.once('close', resolve);
    // Without a listener each failed attempt would be printed.
    client.on('error', () => {});
  });
  return client;
}

/** A second connection that may wait and listen. */
export function listenerOf(client: RedisClient): RedisClient {
  const patient = { enableOfflineQueue: true, maxRetriesPerRequest: null };
  const listener: RedisClient = client.isCluster
    ? (client as unknown as Cluster).duplicate([], patient as never)
    : (client as unknown as Redis).duplicate(patient);
  listener.on('error', () => {});
  return listener;
}
