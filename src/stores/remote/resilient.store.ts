import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import { openRow, toAnswer } from '../../core/answer.js';
import type { StoreAnswer } from '../../core/decision.js';
import { parsePolicy } from '../../core/policy.js';
import type { FailureMode, StoreRequest, Take } from '../../core/request.js';
import { RateLimitStoreError } from '../../exceptions/rate-limit-store.error.js';
import { healthChanges, storeCalls } from '../../observe/channels.js';
import { every, sinceStart, steadyNow, systemClock } from '../../util/clock.js';
import type { RateLimitStore, StoreHealth } from '../rate-limit.store.js';
import { Breaker, PROBE_INTERVAL } from './breaker.js';
import { Deadlines, type Timed } from './deadlines.js';
import { EffectQueue } from './effect-queue.js';
import { LocalFallback } from './local-fallback.js';
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

/** The bucket that probes write to, for the key of a request that failed: in a Cluster, on the same node. */
const PROBE_POLICY = parsePolicy({ capacity: 1, refill: 1 }, 'nest-rate-limit:probe');

/** A call of the store in flight. */
interface Call extends Timed {
  readonly request: StoreRequest;
  readonly resolve: (answer: StoreAnswer) => void;
  readonly reject: (error: unknown) => void;
  /** Publishes the outcome of the call; `undefined` without subscribers. */
  readonly publish: ((error?: unknown) => void) | undefined;
  /** The store's own answer, which may come after the deadline. */
  readonly answer: Promise<StoreAnswer>;
}

/**
 * Wraps a store that may fail, and answers every request within the timeout. If the store does not answer, the failure
 * mode applies. After several failures in a row, calls are suspended until a probe succeeds.
 */
export class ResilientStore extends StoreWrapper {
  private readonly deadlines: Deadlines<Call>;
  private readonly breaker = new Breaker();
  private readonly local: LocalFallback;
  private readonly effects: EffectQueue;
  /** The store rejected a write. Until one succeeds, answers to reads do not prove that it has recovered. */
  private rejectsWrites = false;
  private lastError: Error | undefined;
  private downSince: number | undefined;
  private nextUnreadableReport = 0;
  private stopProbing = () => {};

  constructor(
    store: RateLimitStore,
    private readonly options: ResilienceOptions,
  ) {
    super(store);
    this.local = new LocalFallback(store.clock, options.instances);
    this.effects = new EffectQueue(
      store.clock,
      (request) => this.callStore(request),
      () => !this.breaker.isOpen,
    );
    this.deadlines = new Deadlines(options.timeout, (call) =>
      this.fail(call, new RateLimitStoreError(`No answer within ${options.timeout} ms`)),
    );
  }

  override run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer> {
    // Tokens are refunded or charged where they were taken.
    if (request.source === 'fallback') return this.runLocally(request);
    if (request.source === 'open') return this.allow(request);
    if (!this.breaker.allowsCall()) {
      const message = `Rate limit store unavailable: ${this.lastError?.message}`;
      const down = new RateLimitStoreError(message, 'store', { outcome: 'not-applied' });
      return new Promise((resolve) => resolve(this.applyFailureMode(request, down)));
    }
    return new Promise((resolve, reject) => {
      const publish = this.measure(request);
      const answer = this.callStore(request);
      const call: Call = { request, resolve, reject, publish, answer, deadline: 0, ended: false };
      this.deadlines.start(call);
      answer.then(
        (answered) => this.succeed(call, answered),
        (error) => {
          if (this.deadlines.end(call)) this.fail(call, error);
        },
      );
    });
  }

  override health(): StoreHealth {
    if (!this.breaker.isOpen) return this.store.health();
    return { status: 'down', error: this.lastError, since: this.downSince };
  }

  override async close(): Promise<void> {
    this.stopProbing();
    await this.effects.close();
    this.local.close();
    await (this.options.close ? this.options.close() : this.store.close());
  }

  private succeed(call: Call, answer: StoreAnswer): void {
    const { verb, takes } = call.request;
    if (this.deadlines.end(call)) {
      call.publish?.();
      this.recordSuccess(verb !== 'estimate' && answer.taken > 0);
      if (this.effects.size > 0) this.effects.supersede(call.request);
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

  private fail({ request, publish, resolve, reject, answer }: Call, error: unknown): void {
    publish?.(error);
    this.recordFailure(error, request);
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

  private callStore(request: StoreRequest): Promise<StoreAnswer> {
    try {
      return Promise.resolve(this.store.run(request));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Counts errors of the store. An unreadable bucket is an answer, and any other error is that of the request. */
  private recordFailure(error: unknown, { takes }: StoreRequest): void {
    if (!(error instanceof RateLimitStoreError)) return;
    if (error.scope === 'bucket') {
      this.recordSuccess(false);
      this.reportUnreadable(error);
      return;
    }
    if (error.scope === 'write') this.rejectsWrites = true;
    // A connection that is not ready knows the reason; the error of a call may not contain it.
    this.lastError = (error.scope === 'store' && this.store.health().error) || error;
    if (!this.breaker.recordFailure()) return;
    this.downSince = systemClock.now();
    this.startProbing(takes);
    this.publishHealth(this.health());
  }

  private reportUnreadable(error: RateLimitStoreError): void {
    if (steadyNow() < this.nextUnreadableReport) return;
    this.nextUnreadableReport = steadyNow() + UNREADABLE_REPORT_INTERVAL;
    this.options.onUnreadable?.(error);
  }

  /** Probes with writes to a bucket of its own, so that the store also recovers without requests. */
  private startProbing([{ key }]: readonly Take[]): void {
    const take: Take = { policy: PROBE_POLICY, key, amount: 1, maxWait: 0, onStoreError: 'open' };
    this.stopProbing = every(PROBE_INTERVAL / 2, () => {
      Promise.resolve(this.run({ verb: 'charge', takes: [take], retry: false })).catch(() => {});
    });
  }

  private recordSuccess(wrote: boolean): void {
    if (this.rejectsWrites && !wrote) return;
    this.rejectsWrites = false;
    if (!this.breaker.recordSuccess()) return;
    this.stopProbing();
    this.local.clear();
    this.publishHealth({ status: 'up' });
  }

  /** Answers without the store, or throws `error`. Of the modes of several policies the strictest applies. */
  private applyFailureMode(request: StoreRequest, error: unknown, answer?: Promise<StoreAnswer>): StoreAnswer {
    if (!(error instanceof RateLimitStoreError)) throw error;
    if (EFFECT_VERBS.has(request.verb)) {
      if (isRetried(request, error)) this.effects.add(request, answer);
      if (request.retry) return this.allow(request);
      throw error;
    }
    const modeOf = (take: Take) => take.onStoreError ?? this.options.mode;
    if (request.takes.some((take) => modeOf(take) === 'closed')) throw error;
    return request.takes.some((take) => modeOf(take) === 'local') ? this.local.run(request) : this.allow(request);
  }

  /** Refunds or charges a token that was taken locally. The store learns of the charge, too. */
  private runLocally(request: StoreRequest): StoreAnswer {
    if (request.retry && request.verb === 'charge') this.effects.add({ ...request, source: 'store' });
    return this.local.run(request);
  }

  private allow({ takes }: StoreRequest): StoreAnswer {
    return toAnswer(takes, openRow(takes, this.clock.now()), 'open');
  }
}
