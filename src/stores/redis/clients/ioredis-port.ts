import type { RateLimitStoreError } from '../../../exceptions/rate-limit-store.error.js';
import type { Socket } from '../sent-command.js';
import type { ClientEvent, ClientPort, ClientTimeouts, Subscription, SubscriptionEvents } from './client-port.js';
import { readinessError, serverName, whenReady } from './ioredis.js';
import { clientTimeouts, mayResend, unsuitableSettings } from './ioredis-settings.js';
import { listenOnIoredis, openSubscription } from './ioredis-subscription.js';
import { keySlot } from './key-slot.js';
import type { BufferClient } from './redis-client.js';
import { listenTo } from './shared-listeners.js';

/** The connections of an ioredis client. Only a part of this is public, so everything may be missing. */
interface Connections {
  readonly stream?: Socket;
  /** Of a Cluster: for each slot the names of its nodes, the master first. */
  readonly slots?: readonly (readonly string[] | undefined)[];
  readonly connectionPool?: { getInstanceByKey?(name: string): Connections | undefined };
}

/** A `Cluster` also emits `-node`, when the connection to one of its nodes has closed. */
const EVENTS: Readonly<Record<ClientEvent, readonly string[]>> = {
  ready: ['ready'],
  failed: ['close'],
  lost: ['close', '-node'],
  error: ['error'],
};

/** A `Redis` or `Cluster` of ioredis 5 or 6, or of iovalkey. */
export class IoredisPort implements ClientPort {
  readonly isCluster: boolean;
  readonly keyPrefix: string;
  readonly timeouts: ClientTimeouts;
  readonly mayResend: boolean;

  constructor(readonly client: BufferClient) {
    this.isCluster = client.isCluster === true;
    this.keyPrefix = client.options?.keyPrefix ?? '';
    this.timeouts = clientTimeouts(client);
    this.mayResend = mayResend(client);
  }

  get isConnecting(): boolean {
    const { status } = this.client;
    return status === 'connecting' || status === 'connect';
  }

  evalsha(sha: string, keys: readonly string[], argument: string | Buffer): Promise<unknown> {
    return this.client.evalshaBuffer(sha, keys.length, ...keys, argument);
  }

  eval(source: string, keys: readonly string[], argument: string | Buffer): Promise<unknown> {
    return this.client.evalBuffer(source, keys.length, ...keys, argument);
  }

  time(): Promise<unknown> {
    return this.client.time();
  }

  nodeOf(tag: string): string | undefined {
    return this.isCluster ? (this.client as Connections).slots?.[keySlot(tag)]?.[0] : undefined;
  }

  socketOf(node: string | undefined): Socket | undefined {
    const connections = this.client as Connections;
    if (!this.isCluster) return connections.stream;
    return node === undefined ? undefined : connections.connectionPool?.getInstanceByKey?.(node)?.stream;
  }

  on(event: ClientEvent, listener: (error?: unknown) => void): () => void {
    const stops = EVENTS[event].map((name) => listenTo(this.client, name, listener));
    return () => {
      for (const stop of stops) stop();
    };
  }

  whenReady(): Promise<void> {
    return whenReady(this.client);
  }

  readinessError(): RateLimitStoreError | undefined {
    return readinessError(this.client);
  }

  serverName(): string {
    return serverName(this.client);
  }

  unsuitableSettings(timeout: number): string[] {
    return unsuitableSettings(this.client, timeout);
  }

  openSubscription(events: SubscriptionEvents): Subscription {
    return openSubscription(this.client, events);
  }

  listen(events: SubscriptionEvents): Subscription {
    return listenOnIoredis(this.client, events);
  }

  disconnect(): void {
    this.client.disconnect();
  }
}
