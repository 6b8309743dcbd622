import type { StoreAnswer } from '../core/decision.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { sleepIdly } from '../util/clock.js';
import { chain, isPromise, type MaybePromise } from '../util/maybe-promise.js';
import type { HeldBucket, Waiter } from './held-bucket.js';
import { type SlotAnswer, type SlotRequest, takesWithoutSlot } from './slot-request.js';

/** How often the first waiter of a bucket tries again, in ms: a message may be lost, and its registration lapses. */
const RETRY_INTERVAL = 1000;

/** The answer to takes, and the takes that were sent: of a waiter, with the rest of its `maxWait`. */
export interface SentTakes extends SlotAnswer {
  readonly takes: SlotRequest['takes'];
}

/** What the queue needs of `Slots`. */
interface QueueingSlots {
  readonly store: RateLimitStore;
  /** The id of this process. */
  readonly id: number;
  /** Takes again for a request that waits. */
  retry(waiter: Waiter): MaybePromise<SentTakes>;
  bucketOf(take: SlotRequest['takes'][number]): HeldBucket;
  /** How many slots of a bucket were free after an answer. */
  freeSlots(bucket: HeldBucket, sent: SentTakes): number;
  /** Reports a bucket whose oldest waiter has left. */
  report(bucket: HeldBucket): unknown;
  /** The steady clock. */
  now(): number;
  /** Has a slot that the store has granted for nothing but a slot; `free` ones are left. */
  accept(bucket: HeldBucket, request: SlotRequest, free: number): SentTakes;
  /** Undoes a take whose request no longer waits. */
  undo(sent: SentTakes): void;
  settled(bucket: HeldBucket): void;
}

/** The requests of this process that wait for slots; the first ones of each bucket try to take those that become free. */
export class SlotQueue {
  /** The buckets whose messages are listened to. */
  private readonly heard = new Set<HeldBucket>();
  private retrying = new AbortController();

  constructor(private readonly slots: QueueingSlots) {}

  /** Queues a request that was denied because its slots of `missing` are. `maxWait` is in ms from now. */
  add(
    request: SlotRequest,
    since: number,
    denial: StoreAnswer,
    missing: readonly HeldBucket[],
    maxWait: number,
  ): Promise<SlotAnswer> {
    return new Promise((resolve, reject) => {
      const timer = maxWait === Infinity ? undefined : new AbortController();
      const end: Waiter['end'] = (result) => {
        if (waiter.isOver) return;
        waiter.isOver = true;
        timer?.abort('ended');
        this.leave(waiter, 'slot' in result && result.slot !== undefined);
        if ('error' in result) reject(result.error);
        else resolve(result);
      };
      const waiter: Waiter = {
        request,
        since,
        denial,
        buckets: [],
        isTrying: false,
        isNudged: false,
        isOver: false,
        end,
      };
      this.move(waiter, missing);
      request.queue(denial, (error) => end({ error }));
      if (!timer) return;
      const expire = () => end({ answer: waiter.denial, slot: undefined });
      this.slots.store.clock.sleep(maxWait, timer.signal).then(expire, () => {});
    });
  }

  /** Lets the first `count` waiters of a bucket try to take a slot. */
  tryFirst(bucket: HeldBucket, count: number): void {
    bucket.toTry = Math.max(bucket.toTry, count);
    if (bucket.isDispatching) return;
    bucket.isDispatching = true;
    while (bucket.toTry > 0) {
      let left = bucket.toTry;
      bucket.toTry = 0;
      for (const waiter of bucket.waiters) {
        if (left-- <= 0) break;
        if (waiter.isTrying) waiter.isNudged = true;
        else this.attempt(waiter);
      }
    }
    bucket.isDispatching = false;
  }

  /**
   * Hands a slot to the first waiter, if it arrived before and takes the same: while its denial was on its way, a release
   * has let this request overtake it. Returns that denial.
   */
  handOver(request: SlotRequest, since: number, sent: SentTakes): StoreAnswer | undefined {
    if (request.takes.length > 1) return undefined;
    const bucket = this.slots.bucketOf(sent.takes[0]);
    const { first } = bucket;
    if (!first || first.request === request || first.since > since || !isAlike(first.request, request))
      return undefined;
    first.end(sent);
    this.slots.report(bucket);
    return first.denial;
  }

  /** Stops listening. The signals of all waiters have been aborted by then. */
  close(): void {
    for (const bucket of this.heard) this.stopListening(bucket);
  }

  private attempt(waiter: Waiter): void {
    waiter.isTrying = true;
    waiter.isNudged = false;
    const failed = (error: unknown) => {
      const { buckets } = waiter;
      waiter.isTrying = false;
      waiter.end({ error });
      // An unavailable store rejects those behind it, too.
      for (const bucket of buckets) this.tryFirst(bucket, 1);
    };
    try {
      const done = chain(this.slots.retry(waiter), (sent) => this.tried(waiter, sent));
      if (isPromise(done)) done.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  private tried(waiter: Waiter, sent: SentTakes): void {
    waiter.isTrying = false;
    if (waiter.isOver) return this.slots.undo(sent);
    if (sent.slot && this.handOver(waiter.request, waiter.since, sent)) return;
    const { buckets } = waiter;
    const missing = sent.slot ? [] : takesWithoutSlot(sent.takes, sent.answer);
    if (missing.length === 0 || missing.some(({ maxWait }) => maxWait === 0)) {
      waiter.end(sent);
    } else {
      waiter.denial = sent.answer;
      this.move(
        waiter,
        missing.map((take) => this.slots.bucketOf(take)),
      );
      if (waiter.isNudged) this.attempt(waiter);
    }
    // Those behind it, where it no longer waits, take what it left.
    for (const bucket of buckets) {
      if (bucket.waiters.has(waiter)) continue;
      if (bucket.isDue) this.slots.report(bucket);
      this.tryFirst(bucket, this.slots.freeSlots(bucket, sent));
    }
  }

  /** Queues a waiter for the slots of these buckets, and for no others. */
  private move(waiter: Waiter, missing: readonly HeldBucket[]): void {
    const before = waiter.buckets;
    waiter.buckets = missing;
    for (const bucket of missing) if (!before.includes(bucket)) this.join(waiter, bucket);
    for (const bucket of before) if (!missing.includes(bucket)) bucket.dequeue(waiter);
  }

  private join(waiter: Waiter, bucket: HeldBucket): void {
    bucket.enqueue(waiter);
    if (bucket.stopListening) return;
    const { store, id } = this.slots;
    const listener = (message: string) => this.hear(bucket, message);
    bucket.stopListening = store.subscribe(bucket.policy, bucket.key, listener, id);
    this.heard.add(bucket);
    if (this.heard.size > 1) return;
    this.retrying = new AbortController();
    this.retry(this.retrying.signal).catch(() => {});
  }

  /** Gives a slot that the store has granted to the first waiter; returns it if that one needs more than a slot. */
  receive(bucket: HeldBucket, granted: number, free: number): void {
    // A later report has already freed it again.
    if (granted !== bucket.reported) return;
    const { first } = bucket;
    if (!first) {
      this.slots.report(bucket);
    } else if (first.request.takes.length === 1 && this.slots.now() < bucket.knownUntil) {
      first.end(this.slots.accept(bucket, first.request, free));
      this.slots.report(bucket);
      this.tryFirst(bucket, free);
    } else {
      // Its take is a report, after which the store does not grant the slot again.
      bucket.isDue = true;
      this.tryFirst(bucket, 1);
    }
  }

  /** A message is empty, or a `HolderMessage`. */
  private hear(bucket: HeldBucket, message: string): void {
    const [free, granted] = message.split(' ').map(Number);
    if (granted === undefined) this.tryFirst(bucket, free || 1);
    else this.receive(bucket, granted, free);
  }

  private leave(waiter: Waiter, isAdmitted: boolean): void {
    for (const bucket of waiter.buckets) {
      const { first } = bucket;
      bucket.dequeue(waiter);
      // The store knows since when the first one waits; its admission has reported the next one.
      if (first === waiter && !isAdmitted) this.slots.report(bucket);
    }
  }

  private async retry(signal: AbortSignal): Promise<never> {
    for (;;) {
      await sleepIdly(this.slots.store.clock, RETRY_INTERVAL, signal);
      for (const bucket of this.heard) {
        bucket.isContended = false;
        if (bucket.waiters.size > 0) this.tryFirst(bucket, 1);
        else this.stopListening(bucket);
      }
    }
  }

  /** Not as soon as no request waits: the next request may do so at once. */
  private stopListening(bucket: HeldBucket): void {
    bucket.stopListening?.();
    bucket.stopListening = undefined;
    this.heard.delete(bucket);
    if (this.heard.size === 0) this.retrying.abort('ended');
    this.slots.settled(bucket);
  }
}

/** Whether a request takes the same from its buckets as one that takes from a single bucket. */
function isAlike({ takes, maxHold }: SlotRequest, other: SlotRequest): boolean {
  const [{ amount }] = takes;
  return takes.length === 1 && amount === other.takes[0].amount && maxHold === other.maxHold;
}
