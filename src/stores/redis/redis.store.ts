import { createHash } from 'node:crypto';
import type { RedisOptions } from 'ioredis';
import { toAnswer } from '../../core/answer.js';
import type { StoreAnswer } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import type { StoreRequest, Take } from '../../core/request.js';
import { type Clock, steadyNow, systemClock } from '../../util/clock.js';
import { checkNames, reject } from '../../util/option-error.js';
import { GIVING_VERBS, RateLimitStore, RateLimitStoreError, type StoreHealth } from '../rate-limit.store.js';
import { Subscriptions } from '../subscriptions.js';
import {
  type ByteClient,
  isClient,
  knock,
  listenerOf,
  notReady,
  openClient,
  type RedisClient,
  type RedisTarget,
} from './clients/ioredis.js';
import { runApart } from './cross-slot.js';
import { SCRIPT } from './lua/script.js';
import { redisKey, tagOf } from './redis-key.js';
import { Program } from './script-input.js';
import { deal, lateness, type Pending, type Row, storeError } from './script-reply.js';
import { ServerTime } from './server-time.js';

/** What `RedisStore` takes: a connection, and how it is used. */
export interface RedisStoreOptions {
  /** A connection of ioredis: a `Redis` or a `Cluster`. It is not closed by the store. */
  client: RedisClient;
  /** In front of all keys; default `rl:`. Printable ASCII without braces. */
  prefix?: string;
  /** `true` keeps users' keys (addresses, names) out of Redis: all are hashed. Default `false`. */
  hashKeys?: boolean;
  /** `false`: every refusal is asked for. Default `true`: the module remembers one for up to a second. */
  denyCache?: boolean;
  /** `false` sends each decision by itself; default `true`: those of one turn of the event loop go together, up to 32 in one command. */
  batch?: boolean;
  /**
   * A request that reaches the server later than this does nothing (ms; default: none). So what a caller has given up
   * never takes tokens later, however long it was under way. The module sets `failure.timeout`.
   */
  timeout?: number;
  /** For tests. Default: the time of the Redis server. */
  clock?: Clock;
}

/** Besides the store's, for a connection that `RedisStore.connect` opens. */
export interface RedisConnectOptions extends Omit<RedisStoreOptions, 'client'> {
  /** `true`: without Redis there is no store, and an application does not start. Default `false`: it starts. */
  mustConnect?: boolean;
}

const STORE_OPTIONS = ['prefix', 'hashKeys', 'denyCache', 'batch', 'timeout', 'clock'];
/** Names of all options of `connect`. */
export const REDIS_OPTIONS = [...STORE_OPTIONS, 'mustConnect'];
const SHA = createHash('sha1').update(SCRIPT).digest('hex');
/** Redis expires keys by its own time; with another clock none may go before its end by that clock. */
const LEAST_TTL_OF_INJECTED_CLOCK = 60_000;
/** Small enough that one batch is made while Redis is busy with the one before. */
const MOST_IN_BATCH = 32;

/**
 * Buckets in Redis, shared by all processes. A request costs one `EVALSHA` for all its limits, and up to 32 requests of
 * one turn of the event loop go out in one (in a Cluster those of one key). All times are the server's. Redis 5 or
 * later, or Valkey.
 */
export class RedisStore extends RateLimitStore {
  readonly clock: Clock;
  readonly denyCache: boolean;
  private readonly client: ByteClient;
  private readonly prefix: string;
  private readonly hashKeys: boolean;
  private readonly batch: boolean;
  readonly timeout: number;
  private readonly injectedClock: Clock | undefined;
  private readonly serverTime = new ServerTime();
  private readonly subscriptions = new Subscriptions();
  private readonly keyOf = (policy: Policy, key: string) => redisKey(this.prefix, tagOf(key, this.hashKeys), policy);
  private owned = false;
  private listener: RedisClient | undefined;
  private queue: Pending[] = [];

  constructor(options: RedisStoreOptions) {
    super();
    checkNames(options, ['client', ...STORE_OPTIONS]);
    const { client, prefix = 'rl:', hashKeys = false, batch = true, timeout = Infinity, clock } = options;
    if (!isClient(client)) reject('client', 'a Redis or Cluster of ioredis', client);
    if (typeof prefix !== 'string' || !/^[\x21-\x7a|~]{0,64}$/.test(prefix)) {
      reject('prefix', 'printable ASCII without spaces and braces, at most 64 characters', prefix);
    }
    this.client = client;
    this.prefix = prefix;
    this.hashKeys = hashKeys;
    this.batch = batch;
    this.denyCache = options.denyCache ?? true;
    this.timeout = timeout;
    this.injectedClock = clock;
    this.clock = clock ?? systemClock;
    if (timeout === Infinity) return;
    client.on('ready', this.learnTime);
    void this.learnTime();
  }

  /** A store on a connection of its own (url or options of ioredis), or on yours. */
  static async connect(target: RedisTarget, options: RedisConnectOptions = {}): Promise<RedisStore> {
    const { mustConnect = false, ...rest } = options;
    const own = !isClient(target);
    const client = isClient(target) ? target : await openClient(target as string | RedisOptions);
    const store = new RedisStore({ ...rest, client });
    store.owned = own;
    try {
      if (mustConnect) await knock(client);
    } catch (error) {
      store.close();
      throw error;
    }
    return store;
  }

  override run(request: StoreRequest): Promise<StoreAnswer> {
    const { takes } = request;
    if (this.client.isCluster && takes.some(({ key }) => key !== takes[0].key)) return this.runApart(request);
    return new Promise((resolve, reject) => {
      // Of a batch the first has waited longest.
      const since = this.queue.length > 0 ? this.queue[0].since : steadyNow();
      const pending = { request, since, resolve: told(takes, resolve), reject };
      if (!this.batch) {
        void this.send([pending]);
        return;
      }
      const size = this.queue.push(pending);
      // After all that has arrived in this turn of the event loop, and before anything else.
      if (size === 1) setImmediate(this.flush);
      else if (size === MOST_IN_BATCH) this.flush();
    });
  }

  private async runApart(request: StoreRequest): Promise<StoreAnswer> {
    const began = steadyNow();
    // All parts of a request have one deadline; giving back has none of it.
    const ask = (part: StoreRequest) =>
      new Promise<Row>((resolve, reject) => {
        const since = GIVING_VERBS.has(part.verb) ? steadyNow() : began;
        void this.send([{ request: part, since, resolve, reject }]);
      });
    return toAnswer(request.takes, await runApart(request, ask), 'store');
  }

  override subscribe(policy: Policy, key: string, listener: () => void): () => void {
    const channel = `${this.client.options?.keyPrefix ?? ''}${this.keyOf(policy, key)}`;
    this.listener ??= this.openListener();
    const connection = this.listener;
    const stop = this.subscriptions.add(channel, listener, () => {
      connection.unsubscribe(channel).catch(() => {});
    });
    // What was given back before the subscription began has not been heard of.
    connection.subscribe(channel).then(listener, () => {});
    return stop;
  }

  private openListener(): RedisClient {
    const listener = listenerOf(this.client);
    listener.on('message', (name) => this.subscriptions.notify(name));
    // What was given back while it was away has not been heard of.
    listener.on('ready', () => {
      for (const name of this.subscriptions.names()) {
        listener.subscribe(name).then(
          () => this.subscriptions.notify(name),
          () => {},
        );
      }
    });
    return listener;
  }

  override health(): StoreHealth {
    const error = notReady(this.client);
    return error ? { status: 'down', error } : { status: 'up' };
  }

  override close(): void {
    this.client.removeListener('ready', this.learnTime);
    this.listener?.disconnect();
    if (this.owned) this.client.disconnect();
  }

  /** Asks for the server's time before the first request needs it, and again after each reconnection. */
  private readonly learnTime = async (): Promise<void> => {
    const sent = steadyNow();
    const reply: unknown = await this.client.time().catch(() => undefined);
    const [seconds, micros] = Array.isArray(reply) ? reply : [];
    const serverNow = Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
    if (Number.isSafeInteger(serverNow)) this.serverTime.heard(serverNow, sent, steadyNow());
  };

  private readonly flush = (): void => {
    const { queue } = this;
    if (queue.length === 0) return;
    this.queue = [];
    if (!this.client.isCluster) void this.send(queue);
    else for (const group of groupByKey(queue)) void this.send(group);
  };

  /** One run of the script for all of `pending`. Never rejects: each of them is told. */
  private async send(pending: readonly Pending[], again = false): Promise<void> {
    const sent = steadyNow();
    try {
      const reply = await this.evaluate(pending);
      const late = lateness(reply);
      if (late === undefined) {
        const serverNow = deal(pending, reply);
        if (serverNow !== undefined && !this.injectedClock) this.serverTime.heard(serverNow, sent, steadyNow());
        return;
      }
      // Either it was too long under way, or the server's clock is not what it was thought to be.
      this.serverTime.heard(late, sent, steadyNow());
      if (again || steadyNow() - pending[0].since > this.timeout) {
        throw new RateLimitStoreError('Redis was asked too late');
      }
      return this.send(pending, true);
    } catch (error) {
      const failure = storeError(error);
      for (const { reject } of pending) reject(failure);
    }
  }

  private async evaluate(pending: readonly Pending[]): Promise<unknown> {
    const program = new Program(this.keyOf);
    for (const { request } of pending) program.add(request);
    const { keys } = program;
    const { injectedClock: clock, timeout } = this;
    const latest = timeout === Infinity ? -1 : this.serverTime.of(pending[0].since + timeout);
    const argument = program.argument(clock ? clock.now() : -1, clock ? LEAST_TTL_OF_INJECTED_CLOCK : 0, latest);
    try {
      return await this.client.evalshaBuffer(SHA, keys.length, ...keys, argument);
    } catch (error) {
      // Scripts are lost with a restart, a fail-over or SCRIPT FLUSH; EVAL brings this one back.
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
      return this.client.evalBuffer(SCRIPT, keys.length, ...keys, argument);
    }
  }
}

/** Makes an answer of the row that it is told. */
function told(takes: readonly Take[], resolve: (answer: StoreAnswer) => void): (row: Row) => void {
  return (row) => resolve(toAnswer(takes, row, 'store'));
}

function groupByKey(queue: readonly Pending[]): Pending[][] {
  const groups = new Map<string, Pending[]>();
  for (const pending of queue) {
    const { key } = pending.request.takes[0];
    const group = groups.get(key);
    if (group) group.push(pending);
    else groups.set(key, [pending]);
  }
  return [...groups.values()];
}
