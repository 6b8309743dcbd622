import { AMOUNT_PER_TOKEN } from '../core/amount.js';
import type { StoreAnswer } from '../core/decision.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { BoundedMap } from '../util/bounded-map.js';
import { later, sleepIdly } from '../util/clock.js';
import { isPromise } from '../util/maybe-promise.js';
import { atTurnEnd } from '../util/turn-end.js';
import type { HeldBucket } from './held-bucket.js';

/** How often a failed report is repeated, in ms. */
const RETRY_INTERVAL = 1000;
/** ms after which a report that has not been answered no longer delays the shutdown. */
const SHUTDOWN_TIMEOUT = 2000;
/** The most buckets whose last release could not be reported; beyond, the oldest is dropped, and its slots expire. */
const MAX_OVERDUE = 10_000;

const REPORTED = Promise.resolve();

/** The buckets whose slots are renewed together. */
interface Renewal {
  readonly slotTtl: number;
  readonly buckets: Set<HeldBucket>;
  readonly stop: AbortController;
}

/** What the reports need of `Slots`. */
interface ReportingSlots {
  readonly store: RateLimitStore;
  /** Whether other processes use the store, so that slots expire unless they are renewed. */
  readonly isShared: boolean;
  /** The id of this process. */
  readonly id: number;
  /** The steady clock. */
  now(): number;
  /** A report of `freed` slots has been sent, so that waiters can take them. */
  reported(bucket: HeldBucket, freed: number): void;
  /** The store has answered the report `sequence`, and granted a slot; `free` ones are left. */
  granted(bucket: HeldBucket, sequence: number, free: number): void;
  /** Loses the slots of a bucket if the store may have granted them to other processes. */
  loseExpired(bucket: HeldBucket): void;
  /** Nothing is left to report. */
  settled(bucket: HeldBucket): void;
}

/**
 * Reports how many slots this process holds: after releases, and every third of `slotTtl` while it holds some. A report
 * is absolute, so the next one makes up for any that was lost.
 */
export class SlotReports {
  private readonly due = new Set<HeldBucket>();
  private readonly renewals = new Map<number, Renewal>();
  private readonly overdue = new BoundedMap<string, HeldBucket>(MAX_OVERDUE, (oldest) => this.giveUp(oldest));
  private readonly inFlight = new Set<Promise<unknown>>();
  /** The number of the last report. */
  lastSequence = 0;
  private flushing: Promise<void> | undefined;

  constructor(private readonly slots: ReportingSlots) {}

  /** Reports a bucket together with all others of this turn of the event loop. Resolves when the store has answered. */
  request(bucket: HeldBucket): Promise<void> {
    bucket.isDue = true;
    if (!this.slots.isShared) return this.report(bucket) ?? REPORTED;
    this.due.add(bucket);
    this.flushing ??= new Promise<void>((resolve) => atTurnEnd(() => resolve(this.flush())));
    return this.flushing;
  }

  /** Reports a bucket now, and lets its waiters try to take the slots that have been released. */
  report(bucket: HeldBucket): void | Promise<void> {
    if (this.due.size > 0) this.due.delete(bucket);
    const { freed } = bucket;
    const sent = this.send(bucket);
    this.slots.reported(bucket, freed);
    return sent;
  }

  /** Returns the number of a take that is sent now and is a report. */
  numberTake(bucket: HeldBucket, sentAt: number): number {
    if (this.due.size > 0) this.due.delete(bucket);
    bucket.setReported(++this.lastSequence, sentAt);
    return this.lastSequence;
  }

  /** Renews the slots of a bucket, and repeats reports that failed. */
  track(bucket: HeldBucket): void {
    const { slotTtl } = bucket;
    if (!this.slots.isShared) return;
    const renewal = this.renewals.get(slotTtl);
    if (renewal) {
      renewal.buckets.add(bucket);
      return;
    }
    const started = { slotTtl, buckets: new Set([bucket]), stop: new AbortController() };
    this.renewals.set(slotTtl, started);
    this.renew(started).catch(() => {});
  }

  /** Sends all reports that are due, waits for their answers, and ends all renewals. */
  async close(): Promise<void> {
    await this.flush();
    const answered = Promise.allSettled(this.inFlight);
    await Promise.race([answered, new Promise<void>((resolve) => later(SHUTDOWN_TIMEOUT, resolve))]);
    for (const renewal of this.renewals.values()) this.stop(renewal);
  }

  private async flush(): Promise<void> {
    this.flushing = undefined;
    await Promise.all([...this.due].map((bucket) => this.report(bucket)));
  }

  private send(bucket: HeldBucket): void | Promise<void> {
    const { store, id, isShared } = this.slots;
    const { policy, key, count } = bucket;
    // Takes that are under way may take the slots that were released.
    const freed = bucket.pending > 0 ? 0 : bucket.freed;
    const waiter = bucket.nextWaiter();
    // Reading the time takes as long as a decision in memory, where slots do not expire.
    const sentAt = isShared || waiter ? this.slots.now() : 0;
    const sequence = ++this.lastSequence;
    const holder = { id, count, sequence, waited: waiter && sentAt - waiter.since, isLasting: !isShared };
    bucket.setReported(sequence, sentAt);
    if (count > 0) bucket.moot = sentAt + bucket.slotTtl;
    try {
      const takes = [{ policy, key, amount: AMOUNT_PER_TOKEN, maxWait: 0, holder }];
      const answer = store.run({ verb: 'hold', takes, retry: false });
      if (isPromise(answer)) return this.awaitReport(bucket, answer, count, freed, sentAt);
      this.confirmed(bucket, count, sentAt);
    } catch {
      this.failed(bucket, sequence);
    }
  }

  private async awaitReport(
    bucket: HeldBucket,
    answer: Promise<StoreAnswer>,
    count: number,
    freed: number,
    sentAt: number,
  ): Promise<void> {
    const { reported } = bucket;
    bucket.reporting++;
    this.inFlight.add(answer);
    let answered: StoreAnswer | undefined;
    try {
      answered = await answer;
    } catch {}
    bucket.reporting--;
    this.inFlight.delete(answer);
    if (!answered) return this.failed(bucket, reported);
    if (answered.taken > 0) this.slots.granted(bucket, reported, answered.remaining);
    else if (freed > 0 && answered.remaining === 0 && bucket.policy.limits.length === 1) bucket.isContended = true;
    this.confirmed(bucket, count, sentAt);
  }

  private confirmed(bucket: HeldBucket, count: number, sentAt: number): void {
    if (count > 0 && this.slots.isShared) bucket.confirm(sentAt);
    this.settle(bucket);
  }

  private failed(bucket: HeldBucket, sequence: number): void {
    if (bucket.reported !== sequence) return;
    bucket.isDue = true;
    this.track(bucket);
    // The slots that were released are granted to none.
    if (bucket.isContended) {
      bucket.isContended = false;
      this.slots.reported(bucket, 1);
    }
    if (bucket.count === 0) this.overdue.set(bucket.name, bucket);
  }

  private giveUp(bucket: HeldBucket): void {
    bucket.isDue = false;
    this.settle(bucket);
  }

  private settle(bucket: HeldBucket): void {
    if (bucket.isDue || bucket.count > 0) return;
    if (this.overdue.size > 0) this.overdue.delete(bucket.name);
    const renewal = this.renewals.get(bucket.slotTtl);
    if (renewal?.buckets.delete(bucket) && renewal.buckets.size === 0) this.stop(renewal);
    this.slots.settled(bucket);
  }

  /** Renews until it is stopped. */
  private async renew(renewal: Renewal): Promise<never> {
    const { clock } = this.slots.store;
    for (;;) {
      await sleepIdly(clock, this.timeToRenew(renewal), renewal.stop.signal);
      for (const bucket of renewal.buckets) this.renewBucket(bucket);
    }
  }

  private stop({ slotTtl, stop }: Renewal): void {
    this.renewals.delete(slotTtl);
    stop.abort('stopped');
  }

  private renewBucket(bucket: HeldBucket): void {
    const now = this.slots.now();
    this.slots.loseExpired(bucket);
    if (bucket.count > 0 || (bucket.isDue && now < bucket.moot)) void this.send(bucket);
    else this.giveUp(bucket);
  }

  private timeToRenew({ slotTtl, buckets }: Renewal): number {
    const now = this.slots.now();
    let wait = slotTtl / 3;
    for (const bucket of buckets) {
      if (bucket.isDue) wait = Math.min(wait, RETRY_INTERVAL);
      if (bucket.slots.size > 0) wait = Math.min(wait, bucket.safeUntil - now);
    }
    return Math.max(1, Math.ceil(wait));
  }
}
