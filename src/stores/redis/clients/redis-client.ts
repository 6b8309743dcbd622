/** A Redis connection, reduced to what `RedisStore` needs: a `Redis` or `Cluster` of ioredis 5 or 6, or of iovalkey. */
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
  disconnect(reconnect?: boolean): void;
}

/** The methods that reply with buffers, which the type definitions of ioredis omit. */
export interface BufferClient extends RedisClient {
  evalshaBuffer(sha: string, keyCount: number, ...args: (string | Buffer)[]): Promise<unknown>;
  evalBuffer(script: string, keyCount: number, ...args: (string | Buffer)[]): Promise<unknown>;
}

/** Whether `value` is a client, and not the URL or options of one. */
export function isRedisClient(value: unknown): value is BufferClient {
  return typeof value === 'object' && value !== null && typeof (value as BufferClient).evalshaBuffer === 'function';
}
