import type { Take } from '../core/request.js';
import { RateLimitStoreError } from '../exceptions/rate-limit-store.error.js';
import { lostSlots } from '../observe/channels.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { undoTakes } from '../stores/undo-takes.js';
import { steadyTimeOf } from '../util/clock.js';
import { detachedString } from '../util/detached-string.js';
import { isPromise, type MaybePromise } from '../util/maybe-promise.js';
import { HeldBucket, type Waiter } from './held-bucket.js';
import { type SentTakes, SlotQueue } from './slot-queue.js';
import { SlotReports } from './slot-reports.js';
import {
  freeSlots,
  grantedAnswer,
  type SlotAnswer,
  type SlotRequest,
  takesWithoutSlot,
  withHolder,
} from './slot-request.js';
import { SlotTake } from './slot-take.js';

/** The most policies whose maps are kept while they are empty. Most applications have fewer with slots. */
const MOST_EMPTY = 64;

const all = new WeakMap<RateLimitStore, Slots>();

/** Takes, holds and releases the slots of this process. Each store has one. */
export class Slots {
  /** A random number, which no other process has. */
  readonly id = Math.floor(Math.random() * 2 ** 47);
  /** By the `id` of their policy, then by key. */
  private readonly buckets = new Map<string, Map<string, HeldBucket>>();
  readonly isShared: boolean;
  /** The bucket in this process that was idle last. It is kept, as it is the likeliest to be used next. */
  private idle: HeldBucket | undefined;
  private readonly reports = new SlotReports(this);
  private readonly queue = new SlotQueue(this);

  /** Only for tests: use `slotsOf`. */
  constructor(readonly store: RateLimitStore) {
    this.isShared = store.isShared;
  }

  /** The buckets of which this process holds or awaits slots. */
  get size(): number {
    let size = this.idle ? -1 : 0;
    for (const buckets of this.buckets.values()) size += buckets.size;
    return size;
  }

  /** The number of the last report. */
  get lastSequence(): number {
    return this.reports.lastSequence;
  }

  /** Milliseconds of a clock that is not set while slots are held; of the store's clock if it is not the system's. */
  now(): number {
    return steadyTimeOf(this.store.clock);
  }

  /** Takes a slot of each bucket and the tokens of the other limits, waiting for slots for up to each `maxWait`. */
  acquire(request: SlotRequest): MaybePromise<SlotAnswer> {
    const since = this.now();
    const queued = this.queueBehind(request, since);
    if (queued) return queued;
    const sent = this.take(request, since);
    return isPromise(sent) ? sent.then((take) => this.apply(request, since, take)) : this.apply(request, since, sent);
  }

  /** Sends the last reports, and stops. The store may be closed afterwards. */
  async close(): Promise<void> {
    this.queue.close();
    await this.reports.close();
  }

  /** Takes again for a request that waits. */
  retry(waiter: Waiter): MaybePromise<SlotTake> {
    return this.take(waiter.request, this.now(), waiter);
  }

  bucketOf({ policy, key }: Take): HeldBucket {
    let buckets = this.buckets.get(policy.id);
    if (!buckets) {
      buckets = new Map();
      this.buckets.set(policy.id, buckets);
    }
    let bucket = buckets.get(key);
    if (!bucket) {
      // In this process only the idle bucket outlives the requests that hold its slots.
      bucket = new HeldBucket(policy, this.isShared ? detachedString(key) : key);
      buckets.set(bucket.key, bucket);
    }
    if (bucket === this.idle) this.idle = undefined;
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
    if (takes.some(({ policy }) => policy.slotIndex < 0 || policy.limits.length > 1)) {
      void undoTakes(this.store, takes, answer);
    }
  }

  reported(bucket: HeldBucket, freed: number): void {
    // A store in this process has already notified the waiters.
    if (this.isShared && freed > 0 && !bucket.isContended) this.queue.tryFirst(bucket, freed);
  }

  granted(bucket: HeldBucket, sequence: number, free: number): void {
    this.queue.receive(bucket, sequence, free);
  }

  accept(bucket: HeldBucket, request: SlotRequest, free: number): SlotTake {
    const { takes } = request;
    // The report that follows sets when the store drops the slot, which may be sooner than without it.
    const sentAt = Math.min(this.now(), bucket.knownUntil - bucket.slotTtl);
    return new SlotTake(this, request, takes, [bucket], sentAt).accept(grantedAnswer(takes[0], free));
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

  track(bucket: HeldBucket): void {
    this.reports.track(bucket);
  }

  settled(bucket: HeldBucket): void {
    if (!bucket.isIdle) return;
    if (this.isShared) return this.forget(bucket);
    const { idle } = this;
    this.idle = bucket;
    if (idle && idle !== bucket) this.forget(idle);
  }

  private forget(bucket: HeldBucket): void {
    const { id } = bucket.policy;
    const buckets = this.buckets.get(id);
    // A renewal may have kept one whose key has another by now.
    if (buckets?.get(bucket.key) === bucket) buckets.delete(bucket.key);
    if (buckets?.size === 0 && this.buckets.size > MOST_EMPTY) this.buckets.delete(id);
  }

  private take(request: SlotRequest, now: number, waiter?: Waiter): MaybePromise<SlotTake> {
    if (request.takes.length === 1) {
      const [first] = request.takes;
      const bucket = this.bucketOf(first);
      return new SlotTake(this, request, [this.takeOf(first, bucket, now, waiter)], [bucket], now).send();
    }
    const buckets: HeldBucket[] = [];
    const takes = request.takes.map((take) => {
      const bucket = take.policy.slotIndex >= 0 ? this.bucketOf(take) : undefined;
      if (bucket) buckets.push(bucket);
      return this.takeOf(take, bucket, now, waiter);
    });
    return new SlotTake(this, request, takes, buckets, now).send();
  }

  private apply(request: SlotRequest, since: number, take: SlotTake): MaybePromise<SlotAnswer> {
    if (!take.slot) return this.applyDenial(request, since, take);
    return take.hasWaiters ? this.keepOrder(request, since, take) : take;
  }

  /**
   * Queues a request for nothing but a slot behind one that waits already: asking the store would be in vain. Those that
   * are trying to take one do not count: the store would not know that this request still waits.
   */
  private queueBehind(request: SlotRequest, since: number): Promise<SlotAnswer> | undefined {
    const [{ policy, key, maxWait }] = request.takes;
    if (!this.isShared || request.takes.length > 1 || policy.limits.length > 1 || maxWait === 0) return undefined;
    const bucket = this.buckets.get(policy.id)?.get(key);
    const waiter = bucket?.nextWaiter();
    return bucket && waiter && this.queue.add(request, since, waiter.denial, [bucket], maxWait);
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
    for (const [i, bucket] of buckets.entries()) {
      if (waits[i] > 0) void this.report(bucket);
      else this.settled(bucket);
    }
    return sent;
  }

  /** A take with its holder; of a waiter, with the rest of its `maxWait`. */
  private takeOf(take: Take, bucket: HeldBucket | undefined, now: number, waiter: Waiter | undefined): Take {
    const waited = waiter && now - waiter.since;
    const maxWait = waited === undefined ? take.maxWait : Math.max(0, take.maxWait - waited);
    if (!bucket) return withHolder(take, maxWait, undefined);
    let sequence: number | undefined;
    // Without a report a slot that was released just now would not be free yet. A waiter's take is one, which returns slots
    // whose grant was lost; not while another take is under way: the count would include it, even if it is denied.
    if (waiter && this.isShared && (bucket.isDue || bucket.pending === 0))
      sequence = this.reports.numberTake(bucket, now);
    else if (bucket.isDue) void this.reports.report(bucket);
    const next = waiter && bucket.nextWaiter(waiter);
    const nextWaited = next && now - next.since;
    const isLasting = !this.isShared;
    return withHolder(take, maxWait, { id: this.id, count: bucket.count, sequence, waited, nextWaited, isLasting });
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
