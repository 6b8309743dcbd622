import { warnOnce } from '../../observe/logger.js';
import { every } from '../../util/clock.js';
import { Subscriptions } from '../subscriptions.js';
import { safeError } from './clients/client-error.js';
import { openSubscriber } from './clients/ioredis.js';
import type { RedisClient } from './clients/redis-client.js';

/** How often the connection must prove that it is alive, in ms: it only listens, so it would not notice its end. */
const HEARTBEAT = 5000;

/** Listens for tokens that return to buckets, on a second connection that the first subscription opens. */
export class RedisSubscriber {
  private readonly subscriptions = new Subscriptions();
  private connection: RedisClient | undefined;
  private isAwaitingReply = false;
  private stopHeartbeat = () => {};

  constructor(
    private readonly client: RedisClient,
    private readonly heartbeat = HEARTBEAT,
  ) {}

  /** Calls `listener` whenever the script publishes to the bucket's key. Returns a function that unsubscribes. */
  subscribe(key: string, listener: () => void): () => void {
    // ioredis adds `keyPrefix` to the keys of a script, but not to the names of channels.
    const channel = `${this.client.options?.keyPrefix ?? ''}${key}`;
    this.connection ??= this.connect();
    const { connection } = this;
    const unsubscribe = this.subscriptions.add(channel, listener, () => {
      if (isReady(connection)) connection.unsubscribe(channel).catch(() => {});
    });
    // One that is not ready subscribes to all channels when it is; until then, commands would pile up in its queue.
    if (isReady(connection)) this.send(connection, channel, listener);
    return unsubscribe;
  }

  close(): void {
    this.stopHeartbeat();
    this.connection?.disconnect();
  }

  private connect(): RedisClient {
    const connection = openSubscriber(this.client);
    connection.on('message', (channel) => this.subscriptions.notify(channel));
    connection.on('ready', () => {
      this.isAwaitingReply = false;
      for (const channel of this.subscriptions.names()) {
        this.send(connection, channel, () => this.subscriptions.notify(channel));
      }
    });
    this.stopHeartbeat = every(this.heartbeat, () => this.beat(connection));
    return connection;
  }

  /** Subscribes, then calls `done`, because tokens may have returned before. */
  private send(connection: RedisClient, channel: string, done: () => void): void {
    connection.subscribe(channel).then(done, (error) => {
      if (isReady(connection)) {
        const { message } = safeError(error);
        warnOnce.about('SUBSCRIBE', `Redis rejects SUBSCRIBE, so \`watch\` checks its bucket every 5 s: ${message}`);
      }
    });
  }

  /** Sends a command that changes nothing, and reconnects if the previous one has not been answered. */
  private beat(connection: RedisClient): void {
    const [channel] = this.subscriptions.names();
    if (channel === undefined || !isReady(connection)) return;
    if (this.isAwaitingReply) return connection.disconnect(true);
    this.isAwaitingReply = true;
    const received = () => {
      this.isAwaitingReply = false;
    };
    connection.subscribe(channel).then(received, received);
  }
}

function isReady({ status = 'ready' }: RedisClient): boolean {
  return status === 'ready';
}
