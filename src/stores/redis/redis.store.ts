import { toAnswer } from '../../core/answer.js';
import type { StoreAnswer } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import type { StoreRequest, Take } from '../../core/request.js';
import { RateLimitStoreError } from '../../exceptions/rate-limit-store.error.js';
import { brand } from '../../util/brand.js';
import { type Clock, later, steadyNow, systemClock } from '../../util/clock.js';
import { VERSION } from '../../util/version.js';
import { GIVING_VERBS, RateLimitStore, type StoreHealth } from '../rate-limit.store.js';
import { warnAboutSettings } from './clients/client-settings.js';
import { openClient, ping, type RedisTarget, readinessError } from './clients/ioredis.js';
import { type BufferClient, isRedisClient } from './clients/redis-client.js';
import { parseRedisTarget } from './clients/redis-target.js';
import { CommandDeadline } from './command-deadline.js';
import { hasSeveralKeys, runAcrossSlots } from './cross-slot.js';
import type { PendingRequest, ReplyRow } from './pending-request.js';
import { redisKey, toHashTag } from './redis-key.js';
import { parseRedisOptions, type RedisConnectOptions, type RedisStoreOptions } from './redis-options.js';
import { RedisSubscriber } from './redis-subscriber.js';
import { groupByKey, RequestQueue } from './request-queue.js';
import { ScriptInput } from './script-input.js';
import { dispatchReplies, isCrossSlotError, isTryAgainError, lateReplyTime, toStoreError } from './script-reply.js';
import { ScriptRunner } from './script-runner.js';
import { ServerTime } from './server-time.js';

/** The shortest TTL in ms with an injected clock: Redis expires keys by its own clock, which may be ahead. */
const MIN_TTL_OF_INJECTED_CLOCK = 60_000;

/** ms until a command is sent again whose slot is being migrated, and how long it is retried without a timeout. */
const RETRY_DELAY = 5;
const LONGEST_RETRY = 2000;

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
  private readonly client: BufferClient;
  private readonly prefix: string;
  private readonly hashKeys: boolean;
  private readonly batch: boolean;
  private readonly injectedClock: Clock | undefined;
  private readonly serverTime = new ServerTime();
  private readonly subscriber: RedisSubscriber;
  private readonly queue = new RequestQueue((requests) => this.sendBatches(requests));
  private readonly script: ScriptRunner;
  private readonly deadline: CommandDeadline;
  /** Whether a command may have buckets of one key only. */
  private sharded: boolean;
  private readonly keyOf = (policy: Policy, key: string) =>
    redisKey(this.prefix, toHashTag(key, this.hashKeys), policy);
  private ownsClient = false;

  constructor(options: RedisStoreOptions) {
    super();
    const { client, prefix, hashKeys, batch, sharded, denyCache, timeout, clock } = parseRedisOptions(options);
    this.client = client;
    this.prefix = prefix;
    this.hashKeys = hashKeys;
    this.batch = batch;
    this.sharded = sharded;
    this.denyCache = denyCache;
    this.timeout = timeout;
    this.injectedClock = clock;
    this.clock = clock ?? systemClock;
    this.subscriber = new RedisSubscriber(client);
    this.script = new ScriptRunner(client);
    this.deadline = new CommandDeadline(client, timeout);
    warnAboutSettings(client, timeout);
    if (timeout === Infinity) return;
    client.on('ready', this.fetchServerTime);
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
      if (mustConnect) await ping(client);
      return store;
    } catch (error) {
      store?.close();
      // An open connection would keep the process alive.
      if (ownsClient) client.disconnect();
      throw error;
    }
  }

  override run(request: StoreRequest): Promise<StoreAnswer> {
    const { takes } = request;
    return new Promise((resolve, reject) => {
      // A batch has the deadline of its oldest request, so later ones need not read the clock.
      const since = this.queue.since ?? steadyNow();
      const pending = { request, since, resolve: answerTo(takes, resolve), reject };
      if (this.batch) this.queue.push(pending);
      else this.sendBatches([pending]);
    });
  }

  /** Sends requests in one command; if `sharded`, in one for each key. */
  private sendBatches(requests: readonly PendingRequest[]): void {
    if (!this.sharded) return void this.send(requests);
    const [across, single] = [true, false].map((several) =>
      requests.filter(({ request }) => hasSeveralKeys(request) === several),
    );
    for (const batch of groupByKey(single)) void this.send(batch);
    for (const { request, since, resolve, reject } of across) {
      // All parts of a request share one deadline, except for refunds, which start their own.
      const run = (part: StoreRequest) =>
        new Promise<ReplyRow>((resolve, reject) => {
          void this.send([
            { request: part, since: GIVING_VERBS.has(part.verb) ? steadyNow() : since, resolve, reject },
          ]);
        });
      runAcrossSlots(request, run).then(resolve, reject);
    }
  }

  override subscribe(policy: Policy, key: string, listener: () => void): () => void {
    return this.subscriber.subscribe(this.keyOf(policy, key), listener);
  }

  override health(): StoreHealth {
    const error = readinessError(this.client);
    return error ? { status: 'down', error } : { status: 'up' };
  }

  override close(): void {
    this.client.removeListener('ready', this.fetchServerTime);
    this.script.close();
    this.subscriber.close();
    if (this.ownsClient) this.client.disconnect();
  }

  /** Reads the server's time before the first request needs it, and again after each reconnection. */
  private readonly fetchServerTime = async (): Promise<void> => {
    const sent = steadyNow();
    const reply: unknown = await this.client.time().catch(() => undefined);
    const [seconds, micros] = Array.isArray(reply) ? reply : [];
    const serverNow = Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
    if (Number.isSafeInteger(serverNow)) this.serverTime.observe(serverNow, sent, steadyNow());
  };

  /** Runs the script once for the batch, and settles each of its requests. Never rejects. */
  private async send(batch: readonly PendingRequest[], isRetry = false): Promise<void> {
    const sent = steadyNow();
    try {
      const reply = await this.evaluate(batch);
      const late = lateReplyTime(reply);
      if (late === undefined) {
        const serverNow = dispatchReplies(batch, reply);
        if (serverNow !== undefined && !this.injectedClock) this.serverTime.observe(serverNow, sent, steadyNow());
        return;
      }
      // If the deadline has not passed here, the estimate of the server's time was wrong: correct it, and retry once.
      this.serverTime.observe(late, sent, steadyNow());
      if (isRetry || steadyNow() - batch[0].since > this.timeout) {
        const message = `Command reached Redis after its ${this.timeout} ms deadline`;
        throw new RateLimitStoreError(message, 'store', { outcome: 'not-applied' });
      }
      return this.send(batch, true);
    } catch (error) {
      if (isCrossSlotError(error) && needsSharding(batch)) return this.shard(batch);
      const retryUntil = batch[0].since + Math.min(this.timeout, LONGEST_RETRY);
      if (isTryAgainError(error) && steadyNow() + RETRY_DELAY < retryUntil) {
        return later(RETRY_DELAY, () => void this.send(batch));
      }
      const storeError = toStoreError(error);
      for (const { reject } of batch) reject(storeError);
    }
  }

  /** Sends a batch again that Redis rejected as a whole because its keys are on several servers. */
  private shard(batch: readonly PendingRequest[]): void {
    this.sharded = true;
    this.sendBatches(batch);
  }

  private async evaluate(batch: readonly PendingRequest[]): Promise<unknown> {
    const input = new ScriptInput(this.keyOf);
    for (const { request } of batch) input.add(request);
    const { keys } = input;
    const { injectedClock: clock } = this;
    const deadline = this.deadline.sent(batch[0].since, steadyNow());
    const latest = deadline === Infinity ? -1 : this.serverTime.at(deadline);
    const argument = input.argument(clock ? clock.now() : -1, clock ? MIN_TTL_OF_INJECTED_CLOCK : 0, latest);
    try {
      return await this.script.run(keys, argument);
    } finally {
      this.deadline.settled(steadyNow());
    }
  }
}

/** Whether a batch has buckets of several keys. */
function needsSharding(batch: readonly PendingRequest[]): boolean {
  return groupByKey(batch).length > 1 || batch.some(({ request }) => hasSeveralKeys(request));
}

/** Resolves with the answer of a row. */
function answerTo(takes: readonly Take[], resolve: (answer: StoreAnswer) => void): (row: ReplyRow) => void {
  return (row) => resolve(toAnswer(takes, row, 'store'));
}
