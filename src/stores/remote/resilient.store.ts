import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import { openRow, toAnswer } from '../../core/answer.js';
import type { StoreAnswer } from '../../core/decision.js';
import { dividePolicy, type Policy } from '../../core/policy.js';
import type { FailureMode, StoreRequest, Take } from '../../core/request.js';
import { healthChanges, storeCalls } from '../../observe/channels.js';
import { every, steady, steadyNow, systemClock } from '../../util/clock.js';
import { MemoryStore } from '../memory/memory.store.js';
import { type RateLimitStore, RateLimitStoreError, type StoreHealth } from '../rate-limit.store.js';
import { Breaker, PROBE_AFTER } from './breaker.js';
import { Deadlines, type Due } from './deadlines.js';
import { StoreWrapper } from './store-wrapper.js';

interface ResilienceOptions {
  readonly mode: FailureMode;
  /** ms within which a decision is given. */
  readonly timeout: number;
  /** Processes that share the limits: alone, each has its part of them. */
  readonly instances: number;
  /** Told when the store goes down and comes up again. */
  readonly onHealth?: (health: StoreHealth) => void;
  /** Told of a bucket that cannot be read; at most once a minute. */
  readonly onUnreadable?: (error: Error) => void;
}

const TELL_EVERY = 60_000;

/** A request under way. */
interface Call extends Due {
  readonly request: StoreRequest;
  readonly resolve: (answer: StoreAnswer) => void;
  readonly reject: (error: unknown) => void;
  /** Tells its end to who listens. */
  readonly tell: ((error?: unknown) => void) | undefined;
}

/** These must last, so they are not done by halves: they reject when the store is away. */
const LASTING_VERBS: ReadonlySet<string> = new Set(['reset', 'block', 'unblock', 'replace']);

/**
 * A store around a store that may fail: gives each decision within the timeout, whatever the other does. When it does
 * not answer, the failure mode decides; when it keeps not answering, it is not asked for a while.
 */
export class ResilientStore extends StoreWrapper {
  private readonly deadlines: Deadlines<Call>;
  private readonly breaker = new Breaker();
  private readonly divided = new WeakMap<Policy, Policy>();
  private local: MemoryStore | undefined;
  private lastError: Error | undefined;
  private downSince: number | undefined;
  private tellAt = 0;
  private stopProbing = () => {};
  /** The store answered that it cannot write: until it has, an answer that wrote nothing proves nothing. */
  private unwritable = false;

  constructor(
    store: RateLimitStore,
    private readonly options: ResilienceOptions,
  ) {
    super(store);
    this.deadlines = new Deadlines(options.timeout, (call) =>
      this.fail(call, new RateLimitStoreError(`No answer within ${options.timeout} ms`)),
    );
  }

  override run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer> {
    // What was taken while the store was away is not in the store.
    if (request.source === 'fallback') return this.inMemory(request);
    if (request.source === 'open') return this.unasked(request);
    if (!this.breaker.admits()) {
      const down = new RateLimitStoreError(`The store is down: ${this.lastError?.message}`);
      return new Promise((resolve) => resolve(this.withoutStore(request, down)));
    }
    return new Promise((resolve, reject) => {
      const call: Call = { request, resolve, reject, tell: this.watch(request), due: 0, over: false };
      this.deadlines.set(call);
      this.ask(request).then(
        (answer) => this.succeed(call, answer),
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
    this.local?.close();
    await this.store.close();
  }

  private succeed(call: Call, answer: StoreAnswer): void {
    const { verb, takes } = call.request;
    if (this.deadlines.end(call)) {
      call.tell?.();
      this.answered(verb !== 'estimate' && answer.taken > 0);
      call.resolve(answer);
    } else if (verb === 'take' && answer.delay > 0) {
      // A place in line that nobody will come for.
      this.ask({ verb: 'cancel', takes, actAt: answer.actAt }).catch(() => {});
    } else if (verb === 'takeUpTo' && answer.taken > 0) {
      // A lease that nobody holds.
      const amount = Math.round(answer.taken * AMOUNT_PER_TOKEN);
      this.ask({ verb: 'put', takes: [{ ...takes[0], amount }] }).catch(() => {});
    }
  }

  private fail({ request, tell, resolve, reject }: Call, error: unknown): void {
    tell?.(error);
    this.note(error, request);
    try {
      resolve(this.withoutStore(request, error));
    } catch (refused) {
      reject(refused);
    }
  }

  /** Begins to measure a call, if anybody listens; returns the way to tell its end. */
  private watch({ verb }: StoreRequest): ((error?: unknown) => void) | undefined {
    if (!storeCalls.hasSubscribers) return undefined;
    const began = steady();
    const store = this.store.constructor.name;
    return (error) => {
      const failure = error instanceof Error ? error : undefined;
      storeCalls.publish({ verb, store, duration: steady() - began, error: failure });
    };
  }

  private tellHealth(health: StoreHealth): void {
    this.options.onHealth?.(health);
    if (healthChanges.hasSubscribers) healthChanges.publish(health);
  }

  private ask(request: StoreRequest): Promise<StoreAnswer> {
    try {
      return Promise.resolve(this.store.run(request));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** An error of the store counts against it; one of a single bucket is an answer; one of the request is neither. */
  private note(error: unknown, { takes }: StoreRequest): void {
    if (!(error instanceof RateLimitStoreError)) return;
    if (error.scope === 'bucket') {
      this.answered(false);
      if (steadyNow() < this.tellAt) return;
      this.tellAt = steadyNow() + TELL_EVERY;
      this.options.onUnreadable?.(error);
      return;
    }
    if (error.scope === 'write') this.unwritable = true;
    // A store that is not ready knows why; a call that failed for that may not.
    this.lastError = (error.scope === 'store' && this.store.health().error) || error;
    if (!this.breaker.failed()) return;
    this.downSince = systemClock.now();
    // Looks by itself, so that it recovers without requests, too. Where writing fails, only a request can tell.
    const probe: StoreRequest = { verb: 'estimate', takes: takes.map((take) => ({ ...take, onStoreError: 'open' })) };
    this.stopProbing = every(PROBE_AFTER / 2, () => {
      if (!this.unwritable) Promise.resolve(this.run(probe)).catch(() => {});
    });
    this.tellHealth(this.health());
  }

  private answered(wrote: boolean): void {
    if (this.unwritable && !wrote) return;
    this.unwritable = false;
    if (!this.breaker.succeeded()) return;
    this.stopProbing();
    this.local?.close();
    this.local = undefined;
    this.tellHealth({ status: 'up' });
  }

  /** What the failure mode says. With several policies the strictest of theirs counts. */
  private withoutStore(request: StoreRequest, error: unknown): StoreAnswer {
    if (!(error instanceof RateLimitStoreError) || LASTING_VERBS.has(request.verb)) throw error;
    const modeOf = (take: Take) => take.onStoreError ?? this.options.mode;
    if (request.takes.some((take) => modeOf(take) === 'closed')) throw error;
    return request.takes.some((take) => modeOf(take) === 'local') ? this.inMemory(request) : this.unasked(request);
  }

  private inMemory(request: StoreRequest): StoreAnswer {
    this.local ??= new MemoryStore({ clock: this.clock });
    const takes = request.takes.map((take) => ({ ...take, policy: this.partOf(take.policy) }));
    return this.local.run({ ...request, takes }, 'fallback');
  }

  private unasked({ takes }: StoreRequest): StoreAnswer {
    return toAnswer(takes, openRow(takes, this.clock.now()), 'open');
  }

  private partOf(policy: Policy): Policy {
    let part = this.divided.get(policy);
    if (!part) {
      part = dividePolicy(policy, this.options.instances);
      this.divided.set(policy, part);
    }
    return part;
  }
}
