import { toAnswer } from '../../core/answer.js';
import type { StoreAnswer } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import type { StoreRequest, Take } from '../../core/request.js';
import { checkHolders } from '../../core/slots.js';
import { warnOnce } from '../../observe/logger.js';
import { brand } from '../../util/brand.js';
import { type Clock, steadyNow, systemClock } from '../../util/clock.js';
import { VERSION } from '../../util/version.js';
import { RateLimitStore, type StoreHealth } from '../rate-limit.store.js';
import type { ClientPort } from './clients/client-port.js';
import { openClient, type RedisTarget } from './clients/ioredis.js';
import { ping } from './clients/ping.js';
import { portOf } from './clients/port-of.js';
import { isRedisClient } from './clients/redis-client.js';
import { parseRedisTarget } from './clients/redis-target.js';
import { CommandSender } from './command-sender.js';
import type { ReplyRow } from './pending-request.js';
import { redisKey, toHashTag } from './redis-key.js';
import { parseRedisOptions, type RedisConnectOptions, type RedisStoreOptions } from './redis-options.js';
import { RedisSubscriber } from './redis-subscriber.js';
import { RequestQueue } from './request-queue.js';
import type { StoreCall } from './sent-command.js';
import { ServerTime } from './server-time.js';

/**
 * Keeps buckets in Redis 5 or later, or in Valkey, shared by all processes.
 *
 * A request is one `EVALSHA` for all its limits. Up to 32 requests of one turn of the event loop share a command; if
 * several servers share the keys, those for the same key. All decisions are made by the clock of the Redis server.
 */
export class RedisStore extends RateLimitStore {
  static {
    brand(this, 'RedisStore', VERSION);
  }

  readonly clock: Clock;
  readonly denyCache: boolean;
  readonly timeout: number;
  private readonly port: ClientPort;
  private readonly prefix: string;
  private readonly hashKeys: boolean;
  private readonly serverTime = new ServerTime();
  private readonly subscriber: RedisSubscriber;
  private readonly sender: CommandSender;
  private readonly queue = new RequestQueue((requests) => this.sender.send(requests));
  private ownsClient = false;
  private stopFetching = () => {};

  constructor(options: RedisStoreOptions) {
    super();
    const { port, subscriber, prefix, hashKeys, batch, sharded, denyCache, timeout, clock } =
      parseRedisOptions(options);
    this.port = port;
    this.prefix = prefix;
    this.hashKeys = hashKeys;
    this.denyCache = denyCache;
    this.timeout = timeout;
    this.clock = clock ?? systemClock;
    this.subscriber = new RedisSubscriber(port, subscriber);
    // Before the store listens itself: one of the settings is whether the application listens for errors.
    const unsuitable = port.unsuitableSettings(timeout);
    if (subscriber ? !subscriber.listen : !port.openSubscription) {
      unsuitable.push(subscriber ? SILENT_SUBSCRIBER : NO_SUBSCRIBER);
    }
    if (unsuitable.length > 0) warnOnce.about(port.client, `Redis connection: ${unsuitable.join('; ')}`);
    this.sender = new CommandSender(port, {
      timeout,
      batch,
      sharded,
      clock,
      serverTime: this.serverTime,
      keyOf: (policy, key) => this.keyOf(policy, key),
      nodeOf: (key) => this.nodeOf(key),
    });
    if (timeout === Infinity) return;
    this.stopFetching = port.on('ready', () => void this.fetchServerTime());
    void this.fetchServerTime();
  }

  /** Creates a store on your client, or on a connection of its own, which `close` ends. */
  static async connect(target: RedisTarget, options: RedisConnectOptions = {}): Promise<RedisStore> {
    const { mustConnect = false, ...rest } = options;
    const parsed = parseRedisTarget(target, 'target');
    const ownsClient = !isRedisClient(parsed);
    const client = isRedisClient(parsed) ? parsed : await openClient(parsed, rest.timeout ?? Infinity);
    let store: RedisStore | undefined;
    try {
      store = new RedisStore({ ...rest, client });
      store.ownsClient = ownsClient;
      // `openClient` has waited for the connection.
      if (ownsClient) store.sender.stopWaiting();
      if (mustConnect) await ping(store.port);
      return store;
    } catch (error) {
      store?.close();
      // An open connection would keep the process alive.
      if (ownsClient) portOf(client)?.disconnect();
      throw error;
    }
  }

  override run(request: StoreRequest): Promise<StoreAnswer> {
    return new Promise((resolve, reject) => this.enqueue(request, undefined, resolve, reject));
  }

  /**
   * @internal Like `run`, without a promise. Sets `call.sent` when the request is handed to the client, which is later
   * than the call.
   */
  enqueue(
    request: StoreRequest,
    call: StoreCall | undefined,
    resolve: (answer: StoreAnswer) => void,
    reject: (error: unknown) => void,
  ): void {
    checkHolders(request);
    this.queue.push({ request, call, resolve: answerTo(request.takes, resolve), reject });
  }

  /** @internal The node of a Cluster that keeps the buckets of a user's key; `undefined` without a Cluster. */
  nodeOf(key: string): string | undefined {
    return this.port.nodeOf(toHashTag(key, this.hashKeys));
  }

  override subscribe(policy: Policy, key: string, listener: (message: string) => void, holder?: number): () => void {
    const bucketKey = this.keyOf(policy, key);
    if (holder === undefined) return this.subscriber.subscribe(bucketKey, listener);
    // First, so that the process hears of its slots once the other subscription has started.
    const stopOwn = this.subscriber.subscribe(
      `${bucketKey}:${holder}`,
      (message) => message !== '' && listener(message),
    );
    const stop = this.subscriber.subscribe(bucketKey, listener);
    return () => {
      stop();
      stopOwn();
    };
  }

  override health(): StoreHealth {
    const error = this.port.readinessError();
    return error ? { status: 'down', error } : { status: 'up' };
  }

  override close(): void {
    this.stopFetching();
    this.sender.close();
    this.subscriber.close();
    if (this.ownsClient) this.port.disconnect();
  }

  /** Reads the server's time before the first request needs it, and again after each reconnection. */
  private async fetchServerTime(): Promise<void> {
    const sent = steadyNow();
    const reply: unknown = await this.port.time().catch(() => undefined);
    const [seconds, micros] = Array.isArray(reply) ? reply : [];
    const serverNow = Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
    if (Number.isSafeInteger(serverNow)) this.serverTime.observe(serverNow, sent, steadyNow());
  }

  private keyOf(policy: Policy, key: string): string {
    return redisKey(this.prefix, toHashTag(key, this.hashKeys), policy);
  }
}

/** Resolves with the answer of a row. */
function answerTo(takes: readonly Take[], resolve: (answer: StoreAnswer) => void): (row: ReplyRow) => void {
  return (row) => resolve(toAnswer(takes, row, 'store'));
}

const SILENT_SUBSCRIBER =
  '`subscriber` cannot subscribe, so `watch` checks its bucket every 5 s; use a client of GLIDE 2.3 or later';
const NO_SUBSCRIBER =
  'it cannot open a second connection, so `watch` checks its bucket every 5 s; pass a second client as `subscriber`';
