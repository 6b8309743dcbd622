import type { StoreAnswer } from '../core/decision.js';
import type { Take } from '../core/request.js';
import { RateLimitStoreError } from '../exceptions/rate-limit-store.error.js';
import { longHolds, slotHolds } from '../observe/channels.js';
import { publishHold } from '../observe/messages.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { sleepIdly } from '../util/clock.js';
import { isPromise, type MaybePromise } from '../util/maybe-promise.js';
import type { HeldBucket } from './held-bucket.js';
import { Slot } from './slot.js';
import type { SlotAnswer, SlotRequest } from './slot-request.js';

/** What a take needs of the slots of its process. */
interface TakingSlots {
  readonly store: RateLimitStore;
  readonly isShared: boolean;
  /** The number of the last report that was sent. */
  readonly lastSequence: number;
  now(): number;
  report(bucket: HeldBucket): Promise<void>;
  /** Renews the slots of a bucket. */
  track(bucket: HeldBucket): void;
  loseExpired(bucket: HeldBucket): void;
  settled(bucket: HeldBucket): void;
}

/** One take of slots, from when it is sent until its slot is released: all that a request in memory allocates. */
export class SlotTake implements SlotAnswer {
  answer!: StoreAnswer;
  slot: Slot | undefined = undefined;
  private readonly lastSequence: number;
  private timer: AbortController | undefined = undefined;
  private publishRelease: (() => void) | undefined = undefined;

  constructor(
    private readonly slots: TakingSlots,
    private readonly request: SlotRequest,
    readonly takes: readonly Take[],
    private readonly buckets: readonly HeldBucket[],
    /** When it was sent; of a grant, `slotTtl` before the store may drop the slot. */
    private readonly sentAt: number,
  ) {
    this.lastSequence = slots.lastSequence;
  }

  /** Whether others wait for the slots that this take has. */
  get hasWaiters(): boolean {
    return this.buckets.length === 1 && this.buckets[0].waiters.size > 0;
  }

  send(): MaybePromise<this> {
    for (const bucket of this.buckets) {
      bucket.pending++;
      bucket.moot = this.sentAt + bucket.slotTtl;
    }
    let answer: MaybePromise<StoreAnswer>;
    try {
      answer = this.slots.store.run({ verb: 'take', takes: this.takes });
    } catch (error) {
      return this.failed(error);
    }
    return isPromise(answer) ? this.answerOf(answer) : this.answered(answer);
  }

  /** Has a slot that the store has granted without a take. */
  accept(answer: StoreAnswer): this {
    this.answer = answer;
    this.grant(answer);
    return this;
  }

  /** Releases the slot. */
  free(slot: Slot): Promise<void> {
    const { buckets } = this;
    this.timer?.abort('released');
    this.publishRelease?.();
    for (const bucket of buckets) bucket.drop(slot);
    if (buckets.length === 1) return this.slots.report(buckets[0]);
    return Promise.all(buckets.map((bucket) => this.slots.report(bucket))).then(() => {});
  }

  private answerOf(answer: Promise<StoreAnswer>): Promise<this> {
    return Promise.resolve(answer).then(
      (value) => this.answered(value),
      (error) => this.failed(error),
    );
  }

  private answered(answer: StoreAnswer): this {
    this.answer = answer;
    for (const bucket of this.buckets) bucket.pending--;
    if (answer.allowed) this.grant(answer);
    // A report in the meantime counted this take.
    else for (const bucket of this.buckets) this.reportIf(bucket.reported > this.lastSequence, bucket);
    return this;
  }

  private failed(error: unknown): never {
    for (const bucket of this.buckets) bucket.pending--;
    const isUnknown = !(error instanceof RateLimitStoreError && error.outcome === 'not-applied');
    const wasReport = this.takes.some(({ holder }) => holder?.sequence !== undefined);
    for (const bucket of this.buckets) this.reportIf(isUnknown || wasReport, bucket);
    throw error;
  }

  private grant(answer: StoreAnswer): void {
    const { slots, sentAt } = this;
    const { isShared } = slots;
    if (this.request.maxHold !== undefined) this.watch(this.request.maxHold);
    const slot = new Slot(answer, isShared ? slots.now() : sentAt, this);
    if (slotHolds.hasSubscribers) this.publishRelease = publishHold(this.buckets, () => slots.now() - slot.since);
    this.slot = slot;
    for (const bucket of this.buckets) {
      bucket.add(slot, isShared);
      if (!isShared) continue;
      if (answer.source === 'store' || bucket.safeUntil === Infinity) bucket.confirm(sentAt);
      slots.track(bucket);
      // A process that was suspended reads answers of which others know nothing any more.
      slots.loseExpired(bucket);
    }
  }

  /** Reports a slot that is held for longer than `maxHold`. */
  private watch(maxHold: number): void {
    const [{ policy, key }] = this.buckets;
    const publish = () => {
      if (longHolds.hasSubscribers) longHolds.publish({ policy: policy.name, key, held: maxHold });
    };
    this.timer = new AbortController();
    sleepIdly(this.slots.store.clock, maxHold, this.timer.signal).then(publish, () => {});
  }

  private reportIf(isWrong: boolean, bucket: HeldBucket): void {
    if (isWrong) void this.slots.report(bucket);
    else this.slots.settled(bucket);
  }
}
