/** A Redis connection: a client of one of the supported libraries. The store does not close it. */
export type RedisClient = IoredisClient | NodeRedisClient | GlideClient;

/** A `Redis` or `Cluster` of ioredis 5 or 6, or of iovalkey. */
export interface IoredisClient {
  readonly isCluster?: boolean;
  readonly status?: string;
  readonly options?: { keyPrefix?: string; readOnly?: boolean };
  evalsha(sha: string, keyCount: number, ...args: string[]): Promise<unknown>;
  subscribe(...channels: string[]): Promise<unknown>;
  unsubscribe(...channels: string[]): Promise<unknown>;
  time(): Promise<readonly (number | string)[]>;
  on(event: string, listener: (...args: string[]) => void): unknown;
  removeListener(event: string, listener: (...args: string[]) => void): unknown;
  disconnect(reconnect?: boolean): void;
}

/** What `createClient`, `createCluster` and `createSentinel` of node-redis 5 return. */
export interface NodeRedisClient {
  readonly isOpen: boolean;
  sendCommand(...args: never[]): Promise<unknown>;
  withTypeMapping(...args: never[]): unknown;
  subscribe(...args: never[]): Promise<unknown>;
}

/** A `GlideClient` or `GlideClusterClient` of Valkey GLIDE 2. */
export interface GlideClient {
  customCommand(...args: never[]): Promise<unknown>;
  getPubSubMessage(): Promise<unknown>;
  close(...args: never[]): void;
}

/** The methods that reply with buffers, which the type definitions of ioredis omit. */
export interface BufferClient extends IoredisClient {
  evalshaBuffer(sha: string, keyCount: number, ...args: (string | Buffer)[]): Promise<unknown>;
  evalBuffer(script: string, keyCount: number, ...args: (string | Buffer)[]): Promise<unknown>;
}

/** Whether `value` is a client, and not the URL or options of one. */
export function isRedisClient(value: unknown): value is RedisClient {
  return isIoredisClient(value) || isNodeRedisClient(value) || isGlideClient(value);
}

export function isIoredisClient(value: unknown): value is BufferClient {
  return hasMethods(value, ['evalshaBuffer']);
}

export function isNodeRedisClient(value: unknown): value is NodeRedisClient {
  // Version 4 has no type mapping, and a pool has neither connections nor subscriptions.
  return hasMethods(value, ['sendCommand', 'withTypeMapping', 'subscribe']);
}

export function isGlideClient(value: unknown): value is GlideClient {
  return hasMethods(value, ['customCommand', 'getPubSubMessage', 'time']);
}

export function hasMethods(value: unknown, names: readonly string[]): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function');
}
