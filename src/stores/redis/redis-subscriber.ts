import { warnOnce } from '../../observe/logger.js';
import { every } from '../../util/clock.js';
import { atTurnEnd } from '../../util/turn-end.js';
import { Subscriptions } from '../subscriptions.js';
import { safeError } from './clients/client-error.js';
import type { ClientPort, Subscription } from './clients/client-port.js';

/** How often the connection must prove that it is alive, in ms: it only listens, so it would not notice its end. */
const HEARTBEAT = 5000;

/** Listens for tokens that return to buckets, on a second connection that the first subscription opens. */
export class RedisSubscriber {
  private readonly subscriptions = new Subscriptions();
  private connection: Subscription | undefined;
  private isAwaitingReply = false;
  private stopHeartbeat = () => {};

  constructor(
    private readonly port: ClientPort,
    /** The client to listen on, instead of a second connection. */
    private readonly listener?: ClientPort,
  ) {}

  /** Passes what the script publishes to a bucket's key, or a holder's, to `listener`. Returns a function that unsubscribes. */
  subscribe(key: string, listener: (message: string) => void): () => void {
    const channel = `${this.port.keyPrefix}${key}`;
    this.connection ??= this.connect();
    const { connection } = this;
    if (!connection) return () => {};
    const unsubscribe = this.subscriptions.add(channel, listener, () => {
      if (connection.isReady) connection.unsubscribe(channel).catch(() => {});
    });
    // One that is not ready subscribes to all channels when it is; until then, commands would pile up in its queue.
    if (connection.isReady) this.send(connection, channel, () => listener(''));
    return unsubscribe;
  }

  close(): void {
    this.stopHeartbeat();
    this.connection?.close();
  }

  private connect(): Subscription | undefined {
    const events = {
      message: (channel: string, message: string) => this.subscriptions.notify(channel, message),
      ready: () => this.subscribeAll(),
    };
    const { port, listener } = this;
    const connection = listener ? listener.listen?.(events) : port.openSubscription?.(events);
    if (connection) this.stopHeartbeat = every(HEARTBEAT, () => this.beat(connection));
    return connection;
  }

  private subscribeAll(): void {
    this.isAwaitingReply = false;
    const { connection } = this;
    if (!connection) return;
    for (const channel of this.subscriptions.names()) {
      this.send(connection, channel, () => this.subscriptions.notify(channel, ''));
    }
  }

  /** Subscribes, then calls `done`, because tokens may have returned before. */
  private send(connection: Subscription, channel: string, done: () => void): void {
    connection.subscribe(channel).then(done, (error) => {
      if (connection.isReady) {
        const { message } = safeError(error);
        warnOnce.about('SUBSCRIBE', `Redis rejects SUBSCRIBE, so \`watch\` checks its bucket every 5 s: ${message}`);
      }
    });
  }

  /** Sends a command that changes nothing, and reconnects if the previous one has not been answered. */
  private beat(connection: Subscription): void {
    const [channel] = this.subscriptions.names();
    if (channel === undefined || !connection.isReady) return;
    // If this process was blocked, the reply may have arrived, but is read only now.
    if (this.isAwaitingReply) return atTurnEnd(() => this.reconnectIfSilent(connection));
    this.isAwaitingReply = true;
    const received = () => {
      this.isAwaitingReply = false;
    };
    connection.check(channel).then(received, received);
  }

  private reconnectIfSilent(connection: Subscription): void {
    if (this.isAwaitingReply && connection.isReady) connection.reconnect();
  }
}
