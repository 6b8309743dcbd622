import type { StoreAnswer } from '../core/decision.js';
import type { Policy } from '../core/policy.js';
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

/** What this process holds, takes and awaits of one bucket. Times are ms of the steady clock. */
export class HeldBucket {
  /** The slots that are held. Lost ones count, because their work still runs. */
  readonly slots = new Set<Slot>();
  /** The takes that are under way. */
  pending = 0;
  /** The requests that wait for a slot, the first one first. */
  readonly waiters = new Set<Waiter>();
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
  /** The number of the last report that was sent. */
  reported = 0;
  /** When the store may grant the slots to others; `Infinity` if there are none to lose. */
  safeUntil = Infinity;
  /** When the store will have dropped all that was sent. */
  moot = 0;

  constructor(
    readonly name: string,
    readonly policy: Policy,
    readonly key: string,
  ) {}

  /** How long the store keeps the slots of a process that does not report, in ms. */
  get slotTtl(): number {
    const { limits, slotIndex } = this.policy;
    return limits[slotIndex].period;
  }

  /** The slots to report: the store executes takes that are under way before the report. */
  get count(): number {
    return this.slots.size + this.pending;
  }

  /** Whether nothing is lost if this object is dropped. */
  get isIdle(): boolean {
    if (this.isDue || this.reporting > 0 || this.count > 0) return false;
    return this.waiters.size === 0 && this.stopListening === undefined;
  }

  get first(): Waiter | undefined {
    const [first] = this.waiters;
    return first;
  }

  /**
   * The waiter that the store is told about: the first one but `other`, which is being tried. If others that are being
   * tried are denied, the next report corrects it.
   */
  nextWaiter(other?: Waiter): Waiter | undefined {
    for (const waiter of this.waiters) if (waiter !== other && !waiter.isTrying) return waiter;
    return undefined;
  }

  /** Adds a waiter in the order of arrival: one that was missing another bucket's slot may be older than the last one. */
  enqueue(waiter: Waiter): void {
    if (waiter.since >= this.newestSince) {
      this.newestSince = waiter.since;
      this.waiters.add(waiter);
      return;
    }
    const sorted = [...this.waiters, waiter].sort((a, b) => a.since - b.since);
    this.waiters.clear();
    for (const each of sorted) this.waiters.add(each);
  }

  /** What was sent at `sentAt` has reached the store. */
  confirm(sentAt: number): void {
    const until = sentAt + this.slotTtl;
    if (this.safeUntil === Infinity || until > this.safeUntil) this.safeUntil = until;
  }
}
