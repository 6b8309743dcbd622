import type { EventEmitter } from 'node:events';
import { RateLimitStoreError } from '../../../exceptions/rate-limit-store.error.js';
import type { ClientEvent, ClientPort, ClientTimeouts, Subscription, SubscriptionEvents } from './client-port.js';
import { BYTES, type NodeClient, type NodeRedisOptions, notSent, toReplyError } from './node-redis.js';
import { nodeRedisTimeouts, unsuitableNodeRedisSettings } from './node-redis-settings.js';
import { duplicateOf, NodeRedisSubscription } from './node-redis-subscription.js';
import { ReplyCount } from './reply-count.js';
import { listenTo, nextEvent } from './shared-listeners.js';
import { listenOn } from './shared-subscription.js';

/** What the clients of node-redis for one server, a Cluster and Sentinels have in common. */
export abstract class NodeRedisPort implements ClientPort {
  abstract readonly isCluster: boolean;
  abstract readonly isConnecting: boolean;
  readonly keyPrefix = '';
  readonly timeouts: ClientTimeouts;
  /** Commands whose connection closed are rejected, and only those that were not written are kept. */
  readonly mayResend = false;

  /** `options` are those of the connections. */
  constructor(
    readonly client: EventEmitter,
    protected readonly options: NodeRedisOptions,
    private readonly events: Readonly<Record<ClientEvent, readonly string[]>>,
  ) {
    this.timeouts = nodeRedisTimeouts(options);
  }

  abstract time(): Promise<unknown>;
  abstract nodeOf(tag: string): string | undefined;
  abstract socketOf(node: string | undefined): ReplyCount | undefined;
  abstract whenReady(): Promise<void>;
  abstract serverName(): string;
  abstract openSubscription(events: SubscriptionEvents): Subscription;
  abstract listen(events: SubscriptionEvents): Subscription;

  evalsha(sha: string, keys: readonly string[], argument: string | Buffer): Promise<unknown> {
    return this.send(['EVALSHA', sha, `${keys.length}`, ...keys, argument], keys[0]);
  }

  eval(source: string, keys: readonly string[], argument: string | Buffer): Promise<unknown> {
    return this.send(['EVAL', source, `${keys.length}`, ...keys, argument], keys[0]);
  }

  on(event: ClientEvent, listener: (error?: unknown) => void): () => void {
    const stops = this.events[event].map((name) => listenTo(this.client, name, listener));
    return () => {
      for (const stop of stops) stop();
    };
  }

  readinessError(): RateLimitStoreError | undefined {
    const reason = this.unreadiness();
    return reason ? new RateLimitStoreError(`${this.serverName()} is not ready: ${reason}`) : undefined;
  }

  unsuitableSettings(timeout: number): string[] {
    return unsuitableNodeRedisSettings(this.client, this.options, timeout);
  }

  disconnect(): void {
    (this.client as unknown as NodeClient).destroy();
  }

  /** Why commands cannot be sent; `undefined` if they can. */
  protected abstract unreadiness(): string | undefined;
  protected abstract send(args: readonly (string | Buffer)[], key: string): Promise<unknown>;
}

const CLIENT_EVENTS = { ready: ['ready'], failed: ['error'], lost: ['error'], error: ['error'] };

/** A client of `createClient`. */
export class NodeRedisClientPort extends NodeRedisPort {
  readonly isCluster = false;
  private readonly replies = new ReplyCount();

  constructor(private readonly connection: NodeClient) {
    super(connection, connection.options ?? {}, CLIENT_EVENTS);
  }

  get isConnecting(): boolean {
    return this.connection.isOpen && !this.connection.isReady;
  }

  time(): Promise<unknown> {
    return this.connection.sendCommand(['TIME']);
  }

  nodeOf(): undefined {
    return undefined;
  }

  socketOf(): ReplyCount {
    return this.replies;
  }

  async whenReady(): Promise<void> {
    if (this.connection.isReady) return;
    if (!this.connection.isOpen) throw new Error(NOT_OPEN);
    await nextEvent(this.connection, 'ready');
  }

  serverName(): string {
    const { path, host = 'localhost', port = 6379 } = this.options.socket ?? {};
    return `Redis at ${path ?? `${host}:${port}`}`;
  }

  openSubscription(events: SubscriptionEvents): Subscription {
    return new NodeRedisSubscription(() => duplicateOf(this.connection), events);
  }

  listen(events: SubscriptionEvents): Subscription {
    return listenOn(this.connection, 'ready', events);
  }

  protected unreadiness(): string | undefined {
    if (this.connection.isReady) return undefined;
    return this.connection.isOpen ? 'connecting' : NOT_OPEN;
  }

  protected send(args: readonly (string | Buffer)[]): Promise<unknown> {
    // In its queue, commands would wait for the end of an outage, long after their deadlines.
    if (!this.connection.isReady) return notSent(this.unreadiness() as string);
    return this.replies.count(this.connection.sendCommand(args, BYTES), toReplyError);
  }
}

export const NOT_OPEN = 'the client is closed; call `connect()`';
