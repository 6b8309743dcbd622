import { WAITING_TTL } from '../core/algorithms/concurrency.js';
import type { StoreAnswer } from '../core/decision.js';
import type { Policy } from '../core/policy.js';
import { bucketName } from '../core/request.js';
import type { Slot } from './slot.js';
import type { SlotAnswer, SlotRequest } from './slot-request.js';

/** A request that waits for slots. */
export interface Waiter {
  readonly request: SlotRequest;
  /** When it was queued. */
  readonly since: number;
  /** The last answer to its takes. */
  denial: StoreAnswer;
  /** The buckets whose slots are missing. */
  buckets: readonly HeldBucket[];
  /** Whether its takes are under way. */
  isTrying: boolean;
  /** Whether a slot may have become free in the meantime. */
  isNudged: boolean;
  isOver: boolean;
  /** Settles the request; later calls have no effect. */
  end(result: SlotAnswer | { readonly error: unknown }): void;
}

const NO_SLOTS: ReadonlySet<Slot> = new Set();
const NO_WAITERS: ReadonlySet<Waiter> = new Set();

/**
 * What this process holds, takes and awaits of one bucket. Times are ms of the steady clock. One is made for nearly every
 * request whose key no other request uses at that time, so its sets are made when they are needed.
 */
export class HeldBucket {
  /** How many slots are held. Lost ones count, because their work still runs. */
  held = 0;
  private losable: Set<Slot> | undefined;
  /** The takes that are under way. */
  pending = 0;
  private queue: Set<Waiter> | undefined;
  private newestSince = -Infinity;
  /** The number of waiters that may try next. */
  toTry = 0;
  isDispatching = false;
  stopListening: (() => void) | undefined;
  /** The slots that have been released since the last report. */
  freed = 0;
  /** Whether the store may have another count than `count`. */
  isDue = false;
  /** The reports that are under way: another object for the same bucket would not know of them. */
  reporting = 0;
  /** The number of the last report that was sent; -1 for none. */
  reported = -1;
  /** When it was sent. */
  reportedAt = 0;
  /** Whether others were granted what this process has released in the last second: its requests need not try to take it. */
  isContended = false;
  /** When the store may grant the slots to others; `Infinity` if there are none to lose. */
  safeUntil = Infinity;
  /** When the store will have dropped all that was sent. */
  moot = 0;

  constructor(
    readonly policy: Policy,
    readonly key: string,
  ) {}

  /** The slots that can be lost: all that are held, unless the store is in this process. */
  get slots(): ReadonlySet<Slot> {
    return this.losable ?? NO_SLOTS;
  }

  /** The requests that wait for a slot, the first one first. */
  get waiters(): ReadonlySet<Waiter> {
    return this.queue ?? NO_WAITERS;
  }

  get name(): string {
    return bucketName(this);
  }

  /** How long the store keeps the slots of a process that does not report, in ms. */
  get slotTtl(): number {
    const { limits, slotIndex } = this.policy;
    return limits[slotIndex].period;
  }

  /** The slots to report: the store executes takes that are under way before the report. */
  get count(): number {
    return this.held + this.pending;
  }

  /** Whether nothing is lost if this object is dropped. */
  get isIdle(): boolean {
    if (this.isDue || this.reporting > 0 || this.count > 0) return false;
    return this.waiters.size === 0 && this.stopListening === undefined;
  }

  get first(): Waiter | undefined {
    return this.queue?.values().next().value;
  }

  /**
   * The waiter that is reported to the store: the first one but `other`, which is being tried. If others that are being
   * tried are denied, the next report corrects it.
   */
  nextWaiter(other?: Waiter): Waiter | undefined {
    if (!this.queue) return undefined;
    for (const waiter of this.queue) if (waiter !== other && !waiter.isTrying) return waiter;
    return undefined;
  }

  /** Counts a slot that was granted. */
  add(slot: Slot, isLosable: boolean): void {
    this.held++;
    if (!isLosable) return;
    this.losable ??= new Set();
    this.losable.add(slot);
  }

  /** Counts a slot that was released. */
  drop(slot: Slot): void {
    this.held--;
    this.freed++;
    this.losable?.delete(slot);
    if (this.held === 0) this.safeUntil = Infinity;
  }

  /** Adds a waiter in the order of arrival: one that was missing another bucket's slot may be older than the last one. */
  enqueue(waiter: Waiter): void {
    this.queue ??= new Set();
    if (waiter.since >= this.newestSince) {
      this.newestSince = waiter.since;
      this.queue.add(waiter);
      return;
    }
    const sorted = [...this.queue, waiter].sort((a, b) => a.since - b.since);
    this.queue.clear();
    for (const each of sorted) this.queue.add(each);
  }

  dequeue(waiter: Waiter): void {
    this.queue?.delete(waiter);
  }

  /** The report `sequence` is sent at `sentAt`. */
  setReported(sequence: number, sentAt: number): void {
    this.isDue = false;
    this.freed = 0;
    this.reported = sequence;
    this.reportedAt = sentAt;
  }

  /** Until when the store knows of the last report, and keeps a slot that it granted after it. */
  get knownUntil(): number {
    return this.reportedAt + Math.max(this.slotTtl, WAITING_TTL);
  }

  /** What was sent at `sentAt` has reached the store. */
  confirm(sentAt: number): void {
    const until = sentAt + this.slotTtl;
    if (this.safeUntil === Infinity || until > this.safeUntil) this.safeUntil = until;
  }
}
