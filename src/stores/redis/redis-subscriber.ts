import { Subscriptions } from '../subscriptions.js';
import { openSubscriber } from './clients/ioredis.js';
import type { RedisClient } from './clients/redis-client.js';

/** Listens for tokens that return to buckets, on a second connection that the first subscription opens. */
export class RedisSubscriber {
  private readonly subscriptions = new Subscriptions();
  private connection: RedisClient | undefined;

  constructor(private readonly client: RedisClient) {}

  /** Calls `listener` whenever the script publishes to the bucket's key. Returns a function that unsubscribes. */
  subscribe(key: string, listener: () => void): () => void {
    // ioredis adds `keyPrefix` to the keys of a script, but not to the names of channels.
    const channel = `${this.client.options?.keyPrefix ?? ''}${key}`;
    this.connection ??= this.connect();
    const { connection } = this;
    const unsubscribe = this.subscriptions.add(channel, listener, () => {
      connection.unsubscribe(channel).catch(() => {});
    });
    // Tokens may have returned before the subscription started.
    connection.subscribe(channel).then(listener, () => {});
    return unsubscribe;
  }

  close(): void {
    this.connection?.disconnect();
  }

  private connect(): RedisClient {
    const connection = openSubscriber(this.client);
    connection.on('message', (channel) => this.subscriptions.notify(channel));
    // Tokens may have returned while the connection was lost.
    connection.on('ready', () => {
      for (const channel of this.subscriptions.names()) {
        connection.subscribe(channel).then(
          () => this.subscriptions.notify(channel),
          () => {},
        );
      }
    });
    return connection;
  }
}
