import { RateLimitStoreError } from '../../../exceptions/rate-limit-store.error.js';
import type { ClientPort, ClientTimeouts, Subscription, SubscriptionEvents } from './client-port.js';
import type { GlideConnection } from './glide.js';
import { toReplyError } from './glide-error.js';
import { listenOnGlide } from './glide-subscription.js';
import { hasMethods } from './redis-client.js';
import { ReplyCount } from './reply-count.js';

/** Replies are buffers instead of strings: `Decoder.Bytes`. */
const BYTES = { decoder: 0 };

/** The default of `requestTimeout`, in ms. */
const REQUEST_TIMEOUT = 250;

/** A `GlideClient` or `GlideClusterClient`. It emits no events, and does not show its connections. */
export class GlidePort implements ClientPort {
  readonly isCluster: boolean;
  readonly isConnecting = false;
  readonly keyPrefix = '';
  readonly timeouts: ClientTimeouts;
  readonly mayResend = false;
  /** Before GLIDE 2.3, clients have only the subscriptions of their configuration. */
  readonly listen?: (events: SubscriptionEvents) => Subscription;
  private readonly replies = new ReplyCount();

  constructor(readonly client: GlideConnection) {
    this.isCluster = hasMethods(client, ['invokeScriptWithRoute']);
    this.timeouts = { commandTimeout: client.config?.requestTimeout ?? REQUEST_TIMEOUT, socketTimeout: Infinity };
    if (hasMethods(client, ['subscribe'])) this.listen = (events) => listenOnGlide(client, events);
  }

  evalsha(sha: string, keys: readonly string[], argument: string | Buffer): Promise<unknown> {
    return this.send(['EVALSHA', sha, `${keys.length}`, ...keys, argument]);
  }

  eval(source: string, keys: readonly string[], argument: string | Buffer): Promise<unknown> {
    return this.send(['EVAL', source, `${keys.length}`, ...keys, argument]);
  }

  time(): Promise<unknown> {
    return this.client.time();
  }

  nodeOf(): undefined {
    return undefined;
  }

  socketOf(): ReplyCount {
    return this.replies;
  }

  on(): () => void {
    return () => {};
  }

  async whenReady(): Promise<void> {
    if (this.client.isClosed) throw new Error(CLOSED);
  }

  readinessError(): RateLimitStoreError | undefined {
    return this.client.isClosed ? new RateLimitStoreError(`${this.serverName()} is not ready: ${CLOSED}`) : undefined;
  }

  serverName(): string {
    return this.isCluster ? 'Valkey Cluster' : 'Valkey';
  }

  unsuitableSettings(timeout: number): string[] {
    const { commandTimeout } = this.timeouts;
    if (this.client.isClosed) return ['it is closed; pass an open one'];
    if (timeout === Infinity || commandTimeout >= timeout) return [];
    return [`\`requestTimeout\` (${commandTimeout} ms) is below the deadline of ${timeout} ms; raise it`];
  }

  disconnect(): void {
    this.client.close();
  }

  private send(args: readonly (string | Buffer)[]): Promise<unknown> {
    return this.replies.count(this.client.customCommand(args, BYTES), toReplyError);
  }
}

const CLOSED = 'the connection is closed';
