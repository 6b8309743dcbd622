import { steadyNow } from '../../../util/clock.js';
import type { Subscription, SubscriptionEvents } from './client-port.js';
import { keySlot } from './key-slot.js';
import { BYTES, type NodeClient, type NodeRedisOptions, notSent, toReplyError } from './node-redis.js';
import { NOT_OPEN, NodeRedisPort } from './node-redis-port.js';
import { duplicateOf, NodeRedisSubscription } from './node-redis-subscription.js';
import { ReplyCount } from './reply-count.js';
import { nextEvent } from './shared-listeners.js';
import { listenOn, type SubscribingClient } from './shared-subscription.js';

interface Node {
  readonly address: string;
  /** Absent before the first command of a client with `minimizeConnections`. */
  readonly client?: NodeClient;
}

/** A client of a Cluster, as far as the store uses it. */
export interface ClusterClient extends SubscribingClient {
  readonly masters: readonly Node[];
  readonly slots: readonly ({ readonly master: Node } | undefined)[];
  readonly _options?: { readonly defaults?: NodeRedisOptions };
  /** Not public, so it may be missing. */
  readonly _slots?: { rediscover?(startWith: NodeClient): Promise<unknown> };
  nodeClient(node: Node): Promise<NodeClient>;
  sendCommand(
    key: string | undefined,
    isReadonly: boolean,
    args: readonly (string | Buffer)[],
    options?: object,
  ): Promise<unknown>;
}

const EVENTS = {
  ready: ['connect', 'node-ready'],
  failed: ['error'],
  lost: ['node-error'],
  error: ['error', 'node-error'],
};

/** How often to look for the master that replaces one whose connection is lost, in ms. */
const REDISCOVERY = 500;

/** A client of `createCluster`. */
export class NodeRedisClusterPort extends NodeRedisPort {
  readonly isCluster = true;
  private readonly replies = new Map<string, ReplyCount>();
  private rediscovered = -Infinity;

  constructor(private readonly cluster: ClusterClient) {
    super(cluster, cluster._options?.defaults ?? {}, EVENTS);
  }

  get isConnecting(): boolean {
    return this.cluster.isOpen && this.cluster.masters.length === 0;
  }

  time(): Promise<unknown> {
    return this.cluster.sendCommand(undefined, false, ['TIME']);
  }

  nodeOf(tag: string): string | undefined {
    return this.cluster.slots[keySlot(tag)]?.master.address;
  }

  socketOf(node: string | undefined): ReplyCount | undefined {
    if (node === undefined) return undefined;
    let replies = this.replies.get(node);
    if (!replies) {
      replies = new ReplyCount();
      this.replies.set(node, replies);
    }
    return replies;
  }

  async whenReady(): Promise<void> {
    if (!this.cluster.isOpen) throw new Error(NOT_OPEN);
    if (this.isConnecting) await nextEvent(this.cluster, 'connect');
  }

  serverName(): string {
    return 'Redis Cluster';
  }

  openSubscription(events: SubscriptionEvents): Subscription {
    return new NodeRedisSubscription(() => this.openSubscriber(), events);
  }

  listen(events: SubscriptionEvents): Subscription {
    return listenOn(this.cluster, 'node-ready', events);
  }

  protected unreadiness(): string | undefined {
    if (!this.cluster.isOpen) return NOT_OPEN;
    return this.isConnecting ? 'connecting' : undefined;
  }

  protected send(args: readonly (string | Buffer)[], key: string): Promise<unknown> {
    const unreadiness = this.unreadiness();
    if (unreadiness) return notSent(unreadiness);
    const master = this.cluster.slots[keySlot(key.slice(key.indexOf('{') + 1, key.indexOf('}')))]?.master;
    if (master?.client?.isReady === false) {
      this.rediscover();
      return notSent(`${master.address} is not connected`);
    }
    const reply = this.cluster.sendCommand(key, false, args, BYTES);
    const replies = this.socketOf(master?.address) ?? new ReplyCount();
    return replies.count(reply, toReplyError);
  }

  /** Finds the masters again: node-redis does so only after a redirection, which a dead master does not send. */
  private rediscover(): void {
    const now = steadyNow();
    if (now < this.rediscovered + REDISCOVERY) return;
    this.rediscovered = now;
    const client = this.readyClient();
    if (client) this.cluster._slots?.rediscover?.(client).catch(() => {});
  }

  private readyClient(): NodeClient | undefined {
    return this.cluster.masters.find(({ client }) => client?.isReady)?.client;
  }

  /** A connection to any node: each of them receives the messages of all. */
  private async openSubscriber(): Promise<NodeClient> {
    return duplicateOf(this.readyClient() ?? (await this.cluster.nodeClient(this.cluster.masters[0])));
  }
}
