import type { StoreAnswer } from '../core/decision.js';
import { bucketName, type Take } from '../core/request.js';
import { RateLimitStoreError } from '../exceptions/rate-limit-store.error.js';
import { longHolds, lostSlots } from '../observe/channels.js';
import { publishHold } from '../observe/messages.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { sleepIdly, steadyTimeOf } from '../util/clock.js';
import { detachedString } from '../util/detached-string.js';
import { chain, isPromise, type MaybePromise } from '../util/maybe-promise.js';
import { HeldBucket, type Waiter } from './held-bucket.js';
import { Slot } from './slot.js';
import { type SentTakes, SlotQueue } from './slot-queue.js';
import { SlotReports } from './slot-reports.js';
import { freeSlots, type SlotAnswer, type SlotRequest, takesWithoutSlot } from './slot-request.js';

const all = new WeakMap<RateLimitStore, Slots>();

/** Takes, holds and releases the slots of this process. Each store has one. */
export class Slots {
  /** A random number, which no other process has. */
  readonly id = Math.floor(Math.random() * 2 ** 47);
  private readonly buckets = new Map<string, HeldBucket>();
  private readonly reports = new SlotReports(this);
  private readonly queue = new SlotQueue(this);

  /** Only for tests: use `slotsOf`. */
  constructor(readonly store: RateLimitStore) {}

  /** The buckets of which this process holds or awaits slots. */
  get size(): number {
    return this.buckets.size;
  }

  /** Milliseconds of a clock that is not set while slots are held; of the store's clock if it is not the system's. */
  now(): number {
    return steadyTimeOf(this.store.clock);
  }

  /** Takes a slot of each bucket and the tokens of the other limits, waiting for slots for up to each `maxWait`. */
  acquire(request: SlotRequest): MaybePromise<SlotAnswer> {
    const since = this.now();
    return chain(this.take(request), (sent) =>
      sent.slot ? this.keepOrder(request, since, sent) : this.applyDenial(request, since, sent),
    );
  }

  /** Sends the last reports, and stops. The store may be closed afterwards. */
  async close(): Promise<void> {
    this.queue.close();
    await this.reports.close();
  }

  /** Takes for a request, or again for one that waits. */
  take(request: SlotRequest, waiter?: Waiter): MaybePromise<SentTakes> {
    const sentAt = this.now();
    const buckets: HeldBucket[] = [];
    const takes = request.takes.map((take) => {
      const bucket = take.policy.slotIndex >= 0 ? this.bucketOf(take) : undefined;
      if (bucket) buckets.push(bucket);
      return this.takeOf(take, bucket, sentAt, waiter);
    });
    for (const bucket of buckets) {
      bucket.pending++;
      bucket.moot = sentAt + bucket.slotTtl;
    }
    const { lastSequence } = this.reports;
    const answered = (answer: StoreAnswer): SentTakes => {
      for (const bucket of buckets) bucket.pending--;
      const slot = answer.allowed ? this.grant(request, buckets, answer, sentAt) : undefined;
      // A report in the meantime counted this take.
      if (!slot) for (const bucket of buckets) this.reportIf(bucket.reported > lastSequence, bucket);
      return { takes, answer, slot };
    };
    const failed = (error: unknown): never => {
      for (const bucket of buckets) bucket.pending--;
      const isUnknown = !(error instanceof RateLimitStoreError && error.outcome === 'not-applied');
      for (const bucket of buckets) this.reportIf(isUnknown, bucket);
      throw error;
    };
    let answer: MaybePromise<StoreAnswer>;
    try {
      answer = this.store.run({ verb: 'take', takes });
    } catch (error) {
      return failed(error);
    }
    return isPromise(answer) ? Promise.resolve(answer).then(answered, failed) : answered(answer);
  }

  bucketOf(take: Take): HeldBucket {
    const { policy, key } = take;
    const name = bucketName(take);
    let bucket = this.buckets.get(name);
    if (!bucket) {
      bucket = new HeldBucket(detachedString(name), policy, detachedString(key));
      this.buckets.set(bucket.name, bucket);
    }
    return bucket;
  }

  freeSlots({ policy, key }: HeldBucket, { takes, answer }: SentTakes): number {
    return freeSlots(takes, policy.id, key, answer);
  }

  report(bucket: HeldBucket): Promise<void> {
    return this.reports.request(bucket);
  }

  undo({ takes, answer, slot }: SentTakes): void {
    if (!slot) return;
    void slot.release();
    void refundTokens(this.store, takes, answer);
  }

  reported(bucket: HeldBucket): void {
    const { freed } = bucket;
    bucket.freed = 0;
    // A store in this process has already notified the waiters.
    if (this.store.isShared && freed > 0) this.queue.tryFirst(bucket, freed);
  }

  loseExpired(bucket: HeldBucket): void {
    const { policy, key, slotTtl, slots, safeUntil } = bucket;
    if (this.now() < safeUntil) return;
    bucket.safeUntil = Infinity;
    const message = `Slot of policy ${policy.name} lost: the store was not reached for its slotTtl of ${slotTtl} ms`;
    const now = this.now();
    for (const slot of slots) {
      const isNew = slot.lose(new RateLimitStoreError(message));
      if (isNew && lostSlots.hasSubscribers) lostSlots.publish({ policy: policy.name, key, held: now - slot.since });
    }
  }

  settled(bucket: HeldBucket): void {
    if (bucket.isIdle) this.buckets.delete(bucket.name);
  }

  /** A request that arrived after a waiter is queued behind it. */
  private keepOrder(request: SlotRequest, since: number, sent: SentTakes): MaybePromise<SlotAnswer> {
    const denial = this.queue.handOver(request, since, sent);
    if (!denial) return sent;
    const [take] = sent.takes;
    if (take.maxWait === 0) return { answer: denial, slot: undefined };
    return this.queue.add(request, since, denial, [this.bucketOf(take)], take.maxWait);
  }

  private applyDenial(request: SlotRequest, since: number, sent: SentTakes): MaybePromise<SlotAnswer> {
    const missing = takesWithoutSlot(sent.takes, sent.answer);
    const waits = missing.map(({ maxWait }) => maxWait);
    const buckets = missing.map((take) => this.bucketOf(take));
    if (missing.length > 0 && !waits.includes(0)) {
      return this.queue.add(request, since, sent.answer, buckets, Math.min(...waits));
    }
    // The store expects those to wait that may.
    for (const [i, bucket] of buckets.entries()) this.reportIf(waits[i] > 0, bucket);
    return sent;
  }

  /** A take with its holder; of a waiter, with what is left of its `maxWait`. */
  private takeOf(take: Take, bucket: HeldBucket | undefined, now: number, waiter: Waiter | undefined): Take {
    const waited = waiter && now - waiter.since;
    const maxWait = waited === undefined ? take.maxWait : Math.max(0, take.maxWait - waited);
    if (!bucket) return { ...take, maxWait };
    // Otherwise a slot that was released just now would not be free yet.
    if (bucket.isDue) void this.reports.report(bucket);
    const next = waiter && bucket.nextWaiter(waiter);
    const nextWaited = next && now - next.since;
    const isLasting = !this.store.isShared;
    return { ...take, maxWait, holder: { id: this.id, count: bucket.count, waited, nextWaited, isLasting } };
  }

  private grant(request: SlotRequest, buckets: readonly HeldBucket[], answer: StoreAnswer, sentAt: number): Slot {
    const timer = this.watch(request, buckets);
    const publishRelease = publishHold(buckets, () => this.now() - sentAt);
    const slot = new Slot(answer, sentAt, (released) => {
      timer?.abort('released');
      publishRelease();
      return this.release(released, buckets);
    });
    for (const bucket of buckets) {
      bucket.slots.add(slot);
      if (answer.source === 'store' || bucket.safeUntil === Infinity) bucket.confirm(sentAt);
      this.reports.track(bucket);
      // A process that was suspended reads answers of which others know nothing any more.
      this.loseExpired(bucket);
    }
    return slot;
  }

  /** Reports a slot that is held for longer than `maxHold`. */
  private watch({ maxHold }: SlotRequest, [{ policy, key }]: readonly HeldBucket[]): AbortController | undefined {
    if (maxHold === undefined) return undefined;
    const timer = new AbortController();
    const publish = () => {
      if (longHolds.hasSubscribers) longHolds.publish({ policy: policy.name, key, held: maxHold });
    };
    sleepIdly(this.store.clock, maxHold, timer.signal).then(publish, () => {});
    return timer;
  }

  private release(slot: Slot, buckets: readonly HeldBucket[]): Promise<void> {
    for (const bucket of buckets) {
      bucket.slots.delete(slot);
      bucket.freed++;
      if (bucket.slots.size === 0) bucket.safeUntil = Infinity;
    }
    if (buckets.length === 1) return this.report(buckets[0]);
    return Promise.all(buckets.map((bucket) => this.report(bucket))).then(() => {});
  }

  private reportIf(isWrong: boolean, bucket: HeldBucket): void {
    if (isWrong) void this.report(bucket);
    else this.settled(bucket);
  }
}

/** The slots of a store. */
export function slotsOf(store: RateLimitStore): Slots {
  let slots = all.get(store);
  if (!slots) {
    slots = new Slots(store);
    all.set(store, slots);
  }
  return slots;
}

/** Sends the last reports of slots to a store that is about to be closed. */
export async function closeSlots(store: RateLimitStore): Promise<void> {
  await all.get(store)?.close();
}

/** Refunds the tokens that a request has taken together with its slots; its reservation if it still waits for them. */
export async function refundTokens(
  store: RateLimitStore,
  takes: readonly Take[],
  { delay, source, actAt, takenAt }: StoreAnswer,
): Promise<void> {
  if (takes.every(({ policy }) => policy.slotIndex >= 0 && policy.limits.length === 1)) return;
  const instants = actAt ?? (takenAt === undefined ? undefined : [takenAt]);
  try {
    await store.run({ verb: delay > 0 ? 'cancel' : 'put', takes, actAt: instants, source });
  } catch {
    // The tokens stay taken: the limit holds.
  }
}
