import type { EventEmitter } from 'node:events';
import type { Subscription, SubscriptionEvents } from './client-port.js';
import { BYTES, notSent } from './node-redis.js';
import { NodeRedisPort } from './node-redis-port.js';
import { ReplyCount } from './reply-count.js';

type Listener = (message: string, channel: string) => void;

/** What is used of a client of Sentinels. */
export interface SentinelClient extends EventEmitter {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  sendCommand(isReadonly: boolean, args: readonly (string | Buffer)[], options?: object): Promise<unknown>;
  subscribe(channel: string, listener: Listener): Promise<unknown>;
  unsubscribe(channel: string, listener: Listener): Promise<unknown>;
}

const EVENTS = { ready: ['topology-change'], failed: ['error'], lost: ['client-error'], error: ['error'] };

/** A client of `createSentinel`. */
export class NodeRedisSentinelPort extends NodeRedisPort {
  readonly isCluster = false;
  private readonly replies = new ReplyCount();
  /** The last command that was handed to the client, which may still be leasing a connection. */
  private leased: Promise<unknown> = Promise.resolve();

  constructor(private readonly sentinel: SentinelClient) {
    super(sentinel, {}, EVENTS);
  }

  get isConnecting(): boolean {
    return this.sentinel.isOpen && !this.sentinel.isReady;
  }

  time(): Promise<unknown> {
    return this.sentinel.sendCommand(false, ['TIME']);
  }

  nodeOf(): undefined {
    return undefined;
  }

  socketOf(): ReplyCount {
    return this.replies;
  }

  async whenReady(): Promise<void> {
    // A client that connects emits nothing, but its commands wait.
    if (!this.sentinel.isOpen) throw new Error('the client is closed; call `connect()`');
  }

  serverName(): string {
    return 'Redis master of the Sentinels';
  }

  /** Listens on the client itself, which has a connection for that. */
  openSubscription(events: SubscriptionEvents): Subscription {
    const { sentinel } = this;
    const notify: Listener = (_message, channel) => events.message(channel);
    const channels = new Set<string>();
    // The client subscribes again at the new master, but what was published in between is lost.
    sentinel.on('topology-change', events.ready);
    return {
      get isReady() {
        return sentinel.isReady;
      },
      subscribe: (channel) => {
        if (channels.has(channel)) return Promise.resolve();
        channels.add(channel);
        return sentinel.subscribe(channel, notify);
      },
      unsubscribe: (channel) => {
        channels.delete(channel);
        return sentinel.unsubscribe(channel, notify);
      },
      check: () => Promise.resolve(),
      reconnect: () => {},
      close: () => {
        sentinel.removeListener('topology-change', events.ready);
        for (const channel of channels) sentinel.unsubscribe(channel, notify).catch(() => {});
      },
    };
  }

  /** The options of its connections are not visible. */
  override unsuitableSettings(): string[] {
    return [];
  }

  protected unreadiness(): string | undefined {
    if (this.sentinel.isReady) return undefined;
    return this.sentinel.isOpen ? 'connecting' : 'the client is closed; call `connect()`';
  }

  protected send(args: readonly (string | Buffer)[]): Promise<unknown> {
    const unreadiness = this.unreadiness();
    if (unreadiness) return notSent(unreadiness);
    // Commands share a lease, but those that come before the first one has it wait for another one.
    const reply = this.leased.then(() => this.sentinel.sendCommand(false, args, once()));
    this.leased = new Promise(setImmediate);
    return this.counted(reply, this.replies);
  }
}

const ABORTED = AbortSignal.abort();

/**
 * The options of a command, which are read for each attempt to send it: the client repeats commands whose connection
 * closed, although Redis may have executed them. All attempts but the first are aborted.
 */
function once(): object {
  let attempts = 0;
  return {
    ...BYTES,
    get abortSignal() {
      return attempts++ === 0 ? undefined : ABORTED;
    },
  };
}
