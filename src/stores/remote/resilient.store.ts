import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import { openRow, toAnswer } from '../../core/answer.js';
import type { StoreAnswer } from '../../core/decision.js';
import type { FailureMode, StoreRequest, Take } from '../../core/request.js';
import { RateLimitStoreError } from '../../exceptions/rate-limit-store.error.js';
import { healthChanges, storeCalls } from '../../observe/channels.js';
import { sinceStart, steadyNow } from '../../util/clock.js';
import type { RateLimitStore, StoreHealth } from '../rate-limit.store.js';
import { RedisStore } from '../redis/redis.store.js';
import { Breakers } from './breakers.js';
import type { Call } from './call.js';
import { Deadlines } from './deadlines.js';
import { EffectQueue } from './effect-queue.js';
import { LocalFallback } from './local-fallback.js';
import { LocalTakes } from './local-takes.js';
import { EFFECT_VERBS, isRetried } from './pending-effect.js';
import { StoreWrapper } from './store-wrapper.js';

interface ResilienceOptions {
  readonly mode: FailureMode;
  /** The deadline of every decision, in ms. */
  readonly timeout: number;
  /** The number of processes that share the limits. During an outage each process applies its part of them. */
  readonly instances: number;
  /** Called when the store goes down, and when it is up again. */
  readonly onHealth?: (health: StoreHealth) => void;
  /** Called when a bucket cannot be read, at most once a minute. */
  readonly onUnreadable?: (error: Error) => void;
  /** Called instead of the store's `close`. */
  readonly close?: () => void | Promise<void>;
}

const UNREADABLE_REPORT_INTERVAL = 60_000;

/**
 * Wraps a store that may fail, and answers every request within the timeout. If the store does not answer, the failure
 * mode applies. After several failures in a row, calls are suspended until a probe succeeds.
 */
export class ResilientStore extends StoreWrapper {
  private readonly deadlines: Deadlines<Call>;
  private readonly breakers: Breakers;
  private readonly local: LocalFallback;
  /** The store, if it reports when it sends a request: the deadline starts then. Otherwise it starts with the call. */
  private readonly redis: RedisStore | undefined;
  private readonly effects: EffectQueue;
  private readonly localTakes = new LocalTakes();
  private nextUnreadableReport = 0;

  constructor(
    store: RateLimitStore,
    private readonly options: ResilienceOptions,
  ) {
    super(store);
    this.redis = store instanceof RedisStore ? store : undefined;
    this.local = new LocalFallback(store.clock, options.instances, options.mode === 'local');
    this.deadlines = new Deadlines(options.timeout, (call, punctual) => this.miss(call, punctual));
    this.breakers = new Breakers({
      nodeOf: (key) => this.redis?.nodeOf(key),
      probe: async (request) => (await this.run(request)).source === 'store',
      onHealth: (health) => this.publishHealth(health),
    });
    this.effects = new EffectQueue(
      store.clock,
      (request) => this.callStore(request),
      () => this.breakers.health() === undefined,
    );
  }

  override run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer> {
    // Tokens are refunded or charged where they were taken.
    if (request.source === 'fallback') return this.runLocally(request);
    if (request.source === 'open') return this.allow(request);
    const reason = this.breakers.suspension(request);
    if (reason) {
      const message = `Rate limit store unavailable: ${reason.message}`;
      const down = new RateLimitStoreError(message, 'store', { outcome: 'not-applied' });
      return new Promise((resolve) => resolve(this.applyFailureMode(request, down)));
    }
    return new Promise((resolve, reject) => {
      const publish = this.measure(request);
      const call: Call = {
        request,
        resolve,
        reject,
        publish,
        since: 0,
        sent: undefined,
        answer: undefined,
        ended: false,
        next: undefined,
      };
      this.deadlines.start(call);
      const succeed = (answer: StoreAnswer) => this.succeed(call, answer);
      const fail = (error: unknown) => {
        if (this.deadlines.end(call)) this.fail(call, error, true);
      };
      const { direct } = this;
      if (direct && !EFFECT_VERBS.has(request.verb)) return direct.enqueue(request, call, succeed, fail);
      call.answer = this.callStore(request, call);
      call.answer.then(succeed, fail);
    });
  }

  override health(): StoreHealth {
    return this.breakers.health() ?? this.store.health();
  }

  override async close(): Promise<void> {
    this.breakers.stop();
    await this.effects.close();
    this.local.close();
    await (this.options.close ? this.options.close() : this.store.close());
  }

  private succeed(call: Call, answer: StoreAnswer): void {
    const { verb, takes } = call.request;
    this.local.remember(call.request, answer);
    if (this.deadlines.end(call)) {
      call.publish?.();
      this.breakers.recordSuccess(takes, verb !== 'estimate' && answer.taken > 0);
      if (this.effects.size > 0) this.effects.supersede(call.request);
      if (this.localTakes.size > 0) this.settleLocalTakes(call.request);
      call.resolve(answer);
    } else if (verb === 'take' && answer.delay > 0) {
      // The reservation came too late: no request waits for it.
      this.callStore({ verb: 'cancel', takes, actAt: answer.actAt }).catch(() => {});
    } else if (verb === 'takeUpTo' && answer.taken > 0) {
      // The leased tokens came too late: the lease does not hold them.
      const amount = Math.round(answer.taken * AMOUNT_PER_TOKEN);
      const refund: StoreRequest = { verb: 'put', takes: [{ ...takes[0], amount }] };
      this.effects.add(refund, this.callStore(refund));
    }
  }

  private settleLocalTakes({ verb, takes }: StoreRequest): void {
    if (verb === 'reset') this.localTakes.forget(takes);
    if (this.breakers.areClosed) void this.localTakes.settle((request) => this.callStore(request));
  }

  /** A silent connection is a failure of the store, unless this process was late itself; a slow answer is none. */
  private miss(call: Call, punctual: boolean): void {
    const error = new RateLimitStoreError(`No answer within ${this.options.timeout} ms`);
    this.fail(call, error, punctual && (call.sent?.isSilent ?? true));
  }

  private fail(call: Call, error: unknown, isEvidence: boolean): void {
    const { request, publish, resolve, reject, answer } = call;
    publish?.(error);
    if (isEvidence) this.recordFailure(error, call);
    try {
      resolve(this.applyFailureMode(request, error, answer));
    } catch (rejection) {
      reject(rejection);
    }
  }

  /** Starts to measure a call, if there are subscribers. Returns a function that publishes the outcome. */
  private measure({ verb }: StoreRequest): ((error?: unknown) => void) | undefined {
    if (!storeCalls.hasSubscribers) return undefined;
    const started = sinceStart();
    const store = this.store.constructor.name;
    return (error) => {
      const failure = error instanceof Error ? error : undefined;
      storeCalls.publish({ verb, store, duration: sinceStart() - started, error: failure });
    };
  }

  private publishHealth(health: StoreHealth): void {
    this.options.onHealth?.(health);
    if (healthChanges.hasSubscribers) healthChanges.publish(health);
    if (health.status === 'up') this.effects.wake();
  }

  /** The Redis store, unless its `run` has been replaced, by a subclass or in a test. */
  private get direct(): RedisStore | undefined {
    return this.redis?.run === RedisStore.prototype.run ? this.redis : undefined;
  }

  private callStore(request: StoreRequest, call?: Call): Promise<StoreAnswer> {
    const { direct } = this;
    if (direct) return new Promise((resolve, reject) => direct.enqueue(request, call, resolve, reject));
    try {
      return Promise.resolve(this.store.run(request));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Counts errors of the store. An unreadable bucket is an answer, and any other error is that of the request. */
  private recordFailure(error: unknown, { request: { takes }, sent }: Call): void {
    if (!(error instanceof RateLimitStoreError)) return;
    if (error.scope === 'bucket') {
      this.breakers.recordSuccess(takes, false);
      this.reportUnreadable(error);
      return;
    }
    // All requests of a command fail together.
    if (sent?.isCounted) return;
    if (sent) sent.isCounted = true;
    // A connection that is not ready knows the reason; the error of a call may not contain it.
    const reason = (error.scope === 'store' && this.store.health().error) || error;
    const take = takes.find(({ key }) => this.redis?.nodeOf(key) === sent?.node) ?? takes[0];
    this.breakers.recordFailure(sent?.node, reason as RateLimitStoreError, take.key);
  }

  private reportUnreadable(error: RateLimitStoreError): void {
    if (steadyNow() < this.nextUnreadableReport) return;
    this.nextUnreadableReport = steadyNow() + UNREADABLE_REPORT_INTERVAL;
    this.options.onUnreadable?.(error);
  }

  /** Answers without the store, or throws `error`. Of the modes of several policies the strictest applies. */
  private applyFailureMode(request: StoreRequest, error: unknown, answer?: Promise<StoreAnswer>): StoreAnswer {
    if (!(error instanceof RateLimitStoreError)) throw error;
    const modeOf = (take: Take) => take.onStoreError ?? this.options.mode;
    if (EFFECT_VERBS.has(request.verb)) {
      // The holder repeats it. Until then takes that are decided here take it into account.
      if (request.verb === 'hold' && modeOf(request.takes[0]) === 'local') this.local.run(request);
      if (isRetried(request, error)) this.effects.add(request, answer);
      if (request.retry) return this.allow(request);
      throw error;
    }
    if (request.takes.some((take) => modeOf(take) === 'closed')) throw error;
    if (request.takes.every((take) => modeOf(take) !== 'local')) return this.allow(request);
    const local = this.local.run(request);
    // If the outcome is unknown, the store may have taken the tokens, too.
    if (local.allowed && error.outcome === 'not-applied') this.localTakes.add(request);
    return local;
  }

  /** Refunds or charges a token that was taken locally. The store learns of the charge, too. */
  private runLocally(request: StoreRequest): StoreAnswer {
    if (request.retry && request.verb === 'charge') this.effects.add({ ...request, source: 'store' });
    const local = this.local.run(request);
    if (local.allowed) this.localTakes.add(request);
    return local;
  }

  private allow({ takes }: StoreRequest): StoreAnswer {
    return toAnswer(takes, openRow(takes, this.clock.now()), 'open');
  }
}
