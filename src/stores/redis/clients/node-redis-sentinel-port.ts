import type { Subscription, SubscriptionEvents } from './client-port.js';
import { BYTES, notSent, toReplyError } from './node-redis.js';
import { NOT_OPEN, NodeRedisPort } from './node-redis-port.js';
import { ReplyCount } from './reply-count.js';
import { listenOn, type SubscribingClient } from './shared-subscription.js';

/** A client of Sentinels, as far as the store uses it. */
export interface SentinelClient extends SubscribingClient {
  readonly isReady: boolean;
  sendCommand(isReadonly: boolean, args: readonly (string | Buffer)[], options?: object): Promise<unknown>;
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
    if (!this.sentinel.isOpen) throw new Error(NOT_OPEN);
  }

  serverName(): string {
    return 'Redis master of the Sentinels';
  }

  /** The client has a connection for subscriptions. */
  openSubscription(events: SubscriptionEvents): Subscription {
    return this.listen(events);
  }

  listen(events: SubscriptionEvents): Subscription {
    return listenOn(this.sentinel, 'topology-change', events);
  }

  /** The options of its connections are not visible. */
  override unsuitableSettings(): string[] {
    return [];
  }

  protected unreadiness(): string | undefined {
    if (this.sentinel.isReady) return undefined;
    return this.sentinel.isOpen ? 'connecting' : NOT_OPEN;
  }

  protected send(args: readonly (string | Buffer)[]): Promise<unknown> {
    const unreadiness = this.unreadiness();
    if (unreadiness) return notSent(unreadiness);
    // Commands share a lease, but those that come before the first one has it wait for another one.
    const reply = this.leased.then(() => this.sentinel.sendCommand(false, args, once()));
    this.leased = new Promise(setImmediate);
    return this.replies.count(reply, toReplyError);
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
