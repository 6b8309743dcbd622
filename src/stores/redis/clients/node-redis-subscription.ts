import type { Subscription, SubscriptionEvents } from './client-port.js';
import { retryDelay } from './ioredis.js';
import type { NodeClient } from './node-redis.js';

/** A connection that is silent for so long, in ms, is opened again; pings keep an idle one from being silent. */
const SILENCE_TIMEOUT = 5000;
const PING_INTERVAL = 1000;

/**
 * A connection like that of a client, which never gives up reconnecting. A command that is handed to node-redis when its
 * connection closes can take the first reply of the next one, whose handshake then waits until the connection is silent.
 */
export function duplicateOf(client: NodeClient): NodeClient {
  const { socket } = client.options ?? {};
  return client.duplicate({
    socket: { ...socket, socketTimeout: SILENCE_TIMEOUT, reconnectStrategy: retryDelay },
    pingInterval: PING_INTERVAL,
    readonly: false,
  });
}

/** Listens on a connection of its own, which `open` makes. */
export class NodeRedisSubscription implements Subscription {
  private connection: NodeClient | undefined;
  private isClosed = false;

  constructor(
    private readonly open: () => NodeClient | Promise<NodeClient>,
    private readonly events: SubscriptionEvents,
  ) {
    void this.connect();
  }

  get isReady(): boolean {
    return this.connection?.isReady === true;
  }

  subscribe(channel: string): Promise<unknown> {
    return this.connection?.subscribe(channel, this.notify) ?? Promise.resolve();
  }

  unsubscribe(channel: string): Promise<unknown> {
    return this.connection?.unsubscribe(channel, this.notify) ?? Promise.resolve();
  }

  /** Subscribing again would send nothing. */
  check(): Promise<unknown> {
    return this.connection?.sendCommand(['PING']) ?? Promise.resolve();
  }

  reconnect(): void {
    this.disconnect();
    void this.connect();
  }

  close(): void {
    this.isClosed = true;
    this.disconnect();
  }

  private readonly notify = (message: string, channel: string): void => this.events.message(channel, message);

  private async connect(): Promise<void> {
    const opened = this.open();
    const connection = opened instanceof Promise ? await opened.catch(() => undefined) : opened;
    if (!connection || this.isClosed) return;
    this.connection = connection;
    connection.on('error', () => {});
    connection.on('ready', () => this.events.ready());
    connection.connect().catch(() => {});
  }

  private disconnect(): void {
    const { connection } = this;
    this.connection = undefined;
    if (connection?.isOpen) connection.destroy();
  }
}
