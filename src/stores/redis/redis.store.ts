import { createHash } from 'node:crypto';
import type { RedisOptions } from 'ioredis';
import { type Clock, systemClock } from '../../core/clock.js';
import { rowLength, type StoreAnswer, toAnswer } from '../../core/decision.js';
import { checkNames, reject } from '../../core/option-error.js';
import type { Policy } from '../../core/policy.js';
import type { StoreRequest } from '../../core/request.js';
import { RateLimitStore, RateLimitStoreError } from '../rate-limit.store.js';
import { Subscriptions } from '../subscriptions.js';
import { runApart } from './apart.js';
import { isClient, listenerOf, openClient, type RedisClient, type RedisTarget } from './client.js';
import { EXECUTE_LUA } from './execute.lua.js';
import { redisKey, tagOf } from './key.js';
import { Program } from './program.js';

export interface RedisStoreOptions {
  /** A connection of ioredis: a `Redis` or a `Cluster`. It is not closed by the store. */
  client: RedisClient;
  /** In front of all keys; default `rl:`. Printable ASCII without braces. */
  prefix?: string;
  /** `true` keeps users' keys (addresses, names) out of Redis: all are hashed. Default `false`. */
  hashKeys?: boolean;
  /** `false` sends each decision by itself; default `true`: those of one turn of the event loop go together. */
  batch?: boolean;
  /** For tests. Default: the time of the Redis server. */
  clock?: Clock;
}

/** Names of all options but `client`. */
export const REDIS_OPTIONS = ['prefix', 'hashKeys', 'batch', 'clock'];
const SHA = createHash('sha1').update(EXECUTE_LUA).digest('hex');
/** Redis expires keys by its own time; with another clock none may go before its end by that clock. */
const LEAST_TTL_OF_INJECTED_CLOCK = 60_000;
const MOST_IN_BATCH = 128;

interface Pending {
  readonly request: StoreRequest;
  readonly resolve: (row: readonly number[]) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Buckets in Redis, shared by all processes. A request costs one `EVALSHA` for all its limits, and all requests of one
 * turn of the event loop go out in one. All times are the server's. Redis 5 or later, or Valkey.
 */
export class RedisStore extends RateLimitStore {
  readonly clock: Clock;
  private readonly client: RedisClient;
  private readonly prefix: string;
  private readonly hashKeys: boolean;
  private readonly batch: boolean;
  private readonly injectedClock: Clock | undefined;
  private readonly subscriptions = new Subscriptions();
  private readonly keyOf = (policy: Policy, key: string) => redisKey(this.prefix, tagOf(key, this.hashKeys), policy);
  private owned = false;
  private listener: RedisClient | undefined;
  private queue: Pending[] = [];

  constructor(options: RedisStoreOptions) {
    super();
    checkNames(options, ['client', ...REDIS_OPTIONS]);
    const { client, prefix = 'rl:', hashKeys = false, batch = true, clock } = options;
    if (!isClient(client)) reject('client', 'a Redis or Cluster of ioredis', client);
    if (typeof prefix !== 'string' || !/^[\x21-\x7a|~]{0,64}$/.test(prefix)) {
      reject('prefix', 'printable ASCII without spaces and braces, at most 64 characters', prefix);
    }
    this.client = client;
    this.prefix = prefix;
    this.hashKeys = hashKeys;
    this.batch = batch;
    this.injectedClock = clock;
    this.clock = clock ?? systemClock;
  }

  /** A store on a connection of its own (url or options of ioredis), or on yours. */
  static async connect(target: RedisTarget, options: Omit<RedisStoreOptions, 'client'> = {}): Promise<RedisStore> {
    if (isClient(target)) return new RedisStore({ ...options, client: target });
    const store = new RedisStore({
      ...options,
      client: (await openClient(target as string | RedisOptions)) as unknown as RedisClient,
    });
    store.owned = true;
    return store;
  }

  override async run(request: StoreRequest): Promise<StoreAnswer> {
    const apart = this.client.isCluster && request.takes.some(({ key }) => key !== request.takes[0].key);
    const row = await (apart ? runApart(request, this.ask) : this.ask(request));
    return toAnswer(request.takes, row, 'store');
  }

  private readonly ask = (request: StoreRequest): Promise<readonly number[]> =>
    new Promise((resolve, reject) => {
      const pending = { request, resolve, reject };
      if (!this.batch) void this.send([pending]);
      // After all that has arrived in this turn of the event loop, and before anything else.
      else if (this.queue.push(pending) === 1) setImmediate(this.flush);
    });

  override subscribe(policy: Policy, key: string, listener: () => void): () => void {
    const channel = `${this.client.options?.keyPrefix ?? ''}${this.keyOf(policy, key)}`;
    if (!this.listener) {
      this.listener = listenerOf(this.client);
      this.listener.on('message', (name) => this.subscriptions.notify(name));
    }
    const connection = this.listener;
    const stop = this.subscriptions.add(channel, listener, () => {
      connection.unsubscribe(channel).catch(() => {});
    });
    // What was given back before the subscription began has not been heard of.
    connection.subscribe(channel).then(listener, () => {});
    return stop;
  }

  override close(): void {
    this.listener?.disconnect();
    if (this.owned) this.client.disconnect();
  }

  private readonly flush = (): void => {
    const { queue } = this;
    this.queue = [];
    if (this.client.isCluster) {
      for (const group of groupByKey(queue)) this.sendAll(group);
    } else {
      this.sendAll(queue);
    }
  };

  private sendAll(pending: Pending[]): void {
    for (let start = 0; start < pending.length; start += MOST_IN_BATCH) {
      void this.send(pending.slice(start, start + MOST_IN_BATCH));
    }
  }

  /** One run of the script for all of `pending`. Never rejects: each of them is told. */
  private async send(pending: readonly Pending[]): Promise<void> {
    try {
      const program = new Program(this.keyOf);
      for (const { request } of pending) program.add(request);
      const clock = this.injectedClock;
      const argument = program.argument(clock ? clock.now() : -1, clock ? LEAST_TTL_OF_INJECTED_CLOCK : 0);
      const reply = await this.evaluate(program.keys, argument);
      answer(pending, reply);
    } catch (error) {
      const failure =
        error instanceof RateLimitStoreError
          ? error
          : new RateLimitStoreError(`Redis did not answer: ${(error as Error).message}`, { cause: error });
      for (const { reject } of pending) reject(failure);
    }
  }

  private async evaluate(keys: readonly string[], argument: string): Promise<unknown> {
    try {
      return await this.client.evalsha(SHA, keys.length, ...keys, argument);
    } catch (error) {
      // Scripts are lost with a restart, a fail-over or SCRIPT FLUSH; EVAL brings this one back.
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
      return this.client.eval(EXECUTE_LUA, keys.length, ...keys, argument);
    }
  }
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

/** Cuts the reply into rows and gives each caller his. */
function answer(pending: readonly Pending[], reply: unknown): void {
  const length = pending.reduce((sum, { request }) => sum + rowLength(request.takes), 0);
  if (!Array.isArray(reply) || reply.length !== length || !reply.every(Number.isSafeInteger)) {
    throw new RateLimitStoreError(`Redis replied what the script cannot have: ${JSON.stringify(reply)?.slice(0, 100)}`);
  }
  let start = 0;
  for (const { request, resolve } of pending) {
    const end = start + rowLength(request.takes);
    resolve(reply.slice(start, end));
    start = end;
  }
}
