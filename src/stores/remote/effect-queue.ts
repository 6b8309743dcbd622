import type { StoreRequest } from '../../core/request.js';
import { type EffectDropReason, effects } from '../../observe/channels.js';
import { type Clock, later, steadyNow } from '../../util/clock.js';
import { DropLog } from './drop-log.js';
import {
  effectName,
  isRepeatable,
  type PendingEffect,
  pendingEffect,
  requestAt,
  SUPERSEDED_VERBS,
} from './pending-effect.js';
import { WaitingEffects } from './waiting-effects.js';

/** The most effects kept, in flight or waiting. */
const MAX_EFFECTS = 10_000;
/** The most effects sent at once. */
const BATCH = 32;
/** ms before the first repetition; twice as long before each further one, up to the longest. */
const FIRST_DELAY = 100;
const LONGEST_DELAY = 5000;
/** How long the answers of a batch delay the next one at most, in ms. */
const BATCH_TIMEOUT = 2000;
/** How long effects are tried at shutdown, which then takes two seconds at most, and how often, in ms. */
const SHUTDOWN_TIMEOUT = 1800;
const SHUTDOWN_INTERVAL = 20;

/**
 * Repeats effects that have failed until the store has applied them or they no longer matter, in memory of bounded
 * size. No failure admits more: if an outcome is unknown, a charge is repeated, and a refund only if it has a mark.
 */
export class EffectQueue {
  private readonly waiting = new WaitingEffects();
  private readonly inFlight = new Set<PendingEffect>();
  private readonly drops = new DropLog();
  private failures = 0;
  private hasTimer = false;
  private isDraining = false;
  private isClosed = false;

  /** `isUp` returns whether calls of the store may succeed; `wake` has to be called when that changes to `true`. */
  constructor(
    private readonly clock: Clock,
    private readonly run: (request: StoreRequest) => Promise<unknown>,
    private readonly isUp: () => boolean,
  ) {}

  /** The number of effects kept. */
  get size(): number {
    return this.waiting.size + this.inFlight.size;
  }

  /** Takes over an effect that has failed, or whose `answer` did not arrive in time. */
  add(request: StoreRequest, answer?: Promise<unknown>): void {
    const effect = pendingEffect(request, this.clock.now());
    if (!effect) return;
    publish(effect, 'queued');
    if (this.isClosed) this.drop(effect, 'shutdown');
    else if (!this.hasRoom()) this.drop(effect, 'full');
    else if (answer) void this.follow(effect, answer);
    else this.enqueue(effect);
  }

  /** Tries all effects now. */
  wake(): void {
    this.failures = 0;
    void this.drain();
  }

  /** Drops the effects that `request`, which the store has applied after them, makes void. */
  supersede(request: StoreRequest): void {
    for (const verb of SUPERSEDED_VERBS[request.verb] ?? []) {
      const waiting = this.waiting.remove({ ...request, verb });
      if (waiting) this.drop(waiting, 'superseded');
      for (const effect of this.inFlight) effect.isSuperseded ||= isSame(effect, { ...request, verb });
    }
  }

  /** Tries all effects for up to two seconds, and drops the rest. */
  async close(): Promise<void> {
    const end = steadyNow() + SHUTDOWN_TIMEOUT;
    while (this.size > 0 && steadyNow() < end) {
      void this.drain();
      await new Promise<void>((resolve) => later(SHUTDOWN_INTERVAL, resolve));
    }
    this.isClosed = true;
    for (const effect of [...this.waiting.takeFirst(MAX_EFFECTS), ...this.inFlight]) this.drop(effect, 'shutdown');
    this.inFlight.clear();
    this.drops.close();
  }

  /** Makes room for another effect, if there is none. */
  private hasRoom(): boolean {
    if (this.size < MAX_EFFECTS) return true;
    const least = this.waiting.takeLeast();
    if (least) this.drop(least, 'full');
    return least !== undefined;
  }

  private enqueue(effect: PendingEffect): void {
    this.waiting.add(effect);
    this.schedule();
  }

  private schedule(): void {
    if (this.hasTimer || this.isDraining || this.isClosed || this.waiting.size === 0 || !this.isUp()) return;
    this.hasTimer = true;
    const delay = Math.min(FIRST_DELAY * 2 ** this.failures, LONGEST_DELAY);
    // Random, so that the processes that noticed the same failure do not all repeat at once.
    later(delay * (0.5 + Math.random() / 2), () => {
      this.hasTimer = false;
      void this.drain();
    });
  }

  /** Sends what is waiting until an effect fails again. */
  private async drain(): Promise<void> {
    if (this.isDraining) return;
    this.isDraining = true;
    let succeeds = true;
    while (succeeds && this.waiting.size > 0) {
      const timeout = new Promise<boolean[]>((resolve) => later(BATCH_TIMEOUT, () => resolve([false])));
      succeeds = (await Promise.race([Promise.all(this.sendBatch()), timeout])).every((done) => done);
    }
    this.isDraining = false;
    this.failures = succeeds ? 0 : this.failures + 1;
    this.schedule();
  }

  private sendBatch(): Promise<boolean>[] {
    const now = this.clock.now();
    const batch = this.waiting.takeFirst(BATCH);
    for (const effect of batch) if (effect.until <= now) this.drop(effect, 'expired');
    return batch
      .filter(({ until }) => until > now)
      .map((effect) => this.follow(effect, this.run(requestAt(effect, now))));
  }

  /** Waits for an answer. Resolves with `false` if the effect has to be repeated. */
  private follow(effect: PendingEffect, answer: Promise<unknown>): Promise<boolean> {
    this.inFlight.add(effect);
    return answer.then(
      () => {
        if (this.inFlight.delete(effect)) publish(effect, 'applied');
        return true;
      },
      // If the effect is not there any more, it has been dropped at shutdown.
      (error) => !this.inFlight.delete(effect) || this.endFailed(effect, error),
    );
  }

  /** Returns `false` if the effect has to be repeated. */
  private endFailed(effect: PendingEffect, error: unknown): boolean {
    if (effect.isSuperseded) this.drop(effect, 'superseded');
    else if (!isRepeatable(effect.request, error)) this.drop(effect, 'failed', error);
    else {
      this.enqueue(effect);
      return false;
    }
    return true;
  }

  private drop(effect: PendingEffect, reason: EffectDropReason, error?: unknown): void {
    publish(effect, 'dropped', reason);
    if (reason !== 'superseded') this.drops.note(effect, reason, error);
  }
}

/** Whether an effect is of the verb and for the bucket of `request`. */
function isSame(effect: PendingEffect, request: StoreRequest): boolean {
  return effectName(effect.request) === effectName(request);
}

function publish(
  { request, count }: PendingEffect,
  event: 'queued' | 'applied' | 'dropped',
  reason?: EffectDropReason,
) {
  if (!effects.hasSubscribers) return;
  const { verb, takes } = request;
  effects.publish({ policy: takes[0].policy.name, verb, event, reason, count });
}
