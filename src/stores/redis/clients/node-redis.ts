import type { EventEmitter } from 'node:events';
import { RateLimitStoreError } from '../../../exceptions/rate-limit-store.error.js';

/** The options of node-redis that matter here. It has parsed a `url` into `socket`. */
export interface NodeRedisOptions {
  readonly socket?: {
    readonly host?: string;
    readonly port?: number;
    readonly path?: string;
    readonly socketTimeout?: number;
    readonly reconnectStrategy?: unknown;
  };
  readonly pingInterval?: number;
  readonly readonly?: boolean;
}

type Listener = (message: string, channel: string) => void;

/** A client of one server, as far as the store uses it. */
export interface NodeClient extends EventEmitter {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  readonly options?: NodeRedisOptions;
  connect(): Promise<unknown>;
  destroy(): void;
  duplicate(options: object): NodeClient;
  sendCommand(args: readonly (string | Buffer)[], options?: object): Promise<unknown>;
  subscribe(channel: string, listener: Listener): Promise<unknown>;
  unsubscribe(channel: string, listener: Listener): Promise<unknown>;
}

/** Replies are buffers instead of strings. The key is the type of bulk strings in the protocol. */
export const BYTES = { typeMapping: { 36: Buffer } };

/** The classes of errors with which a server replied. */
const REPLIES = new Set(['SimpleError', 'BlobError', 'ErrorReply', 'MultiErrorReply']);

/** An error of a command. One with which a server replied gets the name that it has in ioredis. */
export function toReplyError(error: unknown): unknown {
  if (error instanceof Error && REPLIES.has(error.constructor.name)) error.name = 'ReplyError';
  return error;
}

/** The rejection of a command that was neither sent nor queued. */
export function notSent(reason: string): Promise<never> {
  const message = `Redis command not sent: ${reason}`;
  return Promise.reject(new RateLimitStoreError(message, 'store', { outcome: 'not-applied' }));
}
