import type { RateLimitStoreError } from '../../../exceptions/rate-limit-store.error.js';
import type { Socket } from '../sent-command.js';

/** The timeouts after which a client rejects commands itself, in ms; `Infinity` without one. */
export interface ClientTimeouts {
  readonly commandTimeout: number;
  /** Since the last data while commands are outstanding. */
  readonly socketTimeout: number;
}

/**
 * What happens to the connections of a client: one is ready, the first attempt to connect has failed, one that was ready
 * is lost, or there is an error, which is passed to the listener.
 */
export type ClientEvent = 'ready' | 'failed' | 'lost' | 'error';

/** What the store needs of a client. There is one implementation for each client library. */
export interface ClientPort {
  /** The client itself, which warnings are about. */
  readonly client: object;
  readonly isCluster: boolean;
  /** Whether the first attempt to connect is under way. */
  readonly isConnecting: boolean;
  /** What the client adds to the keys of a script, but not to the names of channels. */
  readonly keyPrefix: string;
  readonly timeouts: ClientTimeouts;
  /**
   * Whether the client may send a command again whose connection closed before the reply. It then writes a buffer as it is
   * at that moment, and `lost` comes before that.
   */
  readonly mayResend: boolean;

  /** Replies with buffers instead of strings, as does `eval`. */
  evalsha(sha: string, keys: readonly string[], argument: string | Buffer): Promise<unknown>;
  eval(source: string, keys: readonly string[], argument: string | Buffer): Promise<unknown>;
  /** The seconds and microseconds of the server's time. */
  time(): Promise<unknown>;

  /** The node of a Cluster that keeps the keys with this hash tag; `undefined` if it is unknown or there is no Cluster. */
  nodeOf(tag: string): string | undefined;
  /** The connection to a node; of a client without a Cluster its only connection. */
  socketOf(node: string | undefined): Socket | undefined;

  /** Returns a function that removes the listener. */
  on(event: ClientEvent, listener: (error?: unknown) => void): () => void;
  /** Resolves when the connection is ready, also if it is the first command that opens it. Rejects if it is closed. */
  whenReady(): Promise<void>;
  /** Why the connection is not ready; `undefined` if it is, or if its first command will open it. */
  readinessError(): RateLimitStoreError | undefined;
  /** The server, without user and password. */
  serverName(): string;
  /** For each unsuitable setting what is wrong, and the fix; `timeout` is the deadline of commands in ms. */
  unsuitableSettings(timeout: number): string[];

  /** Opens a connection that only listens. Absent if the client cannot open another one. */
  openSubscription?(events: SubscriptionEvents): Subscription;
  /** Listens on the client itself, which stays open. Absent if it cannot subscribe. */
  listen?(events: SubscriptionEvents): Subscription;
  disconnect(): void;
}

export interface SubscriptionEvents {
  message(channel: string, message: string): void;
  /** The connection is ready, and has no channels. */
  ready(): void;
}

/** A connection that only listens. */
export interface Subscription {
  readonly isReady: boolean;
  subscribe(channel: string): Promise<unknown>;
  unsubscribe(channel: string): Promise<unknown>;
  /** Sends a command that changes nothing, for a channel to which it has subscribed. */
  check(channel: string): Promise<unknown>;
  reconnect(): void;
  close(): void;
}
