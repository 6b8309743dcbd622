import { DueHeap } from './due-heap.js';
import { KeptRecords } from './kept-records.js';

/** How long a full bucket is kept, in ms: most clients return, and reusing their bucket is cheaper than making one. */
const LINGER = 10_000;

/**
 * The order in which buckets may be dropped: the unblocked ones by the instant when they will be full, then the blocked
 * ones by the end of their block.
 *
 * A bucket that a process holds slots of is never dropped. It is taken out of the order when it would be next.
 *
 * A take only postpones the instant when its bucket will be full, so it does not reorder. A bucket that reaches the
 * front before it is full is moved back at that point.
 */
export class EvictionOrder {
  readonly blocked = new KeptRecords();
  /** Buckets whose slots are held, until these expire: only those that would have been dropped otherwise. */
  private readonly held = new KeptRecords();
  private readonly heap = new DueHeap();

  /** `fullAt` returns when the bucket in a record will be full; `isHeld` whether slots of it are held until then. */
  constructor(
    private readonly fullAt: (record: number) => number,
    private readonly isHeld: (record: number) => boolean,
  ) {}

  get hasUnblocked(): boolean {
    return this.heap.size > 0;
  }

  /** Adds a record; `blockedUntil` is 0 for one that is not blocked. */
  add(record: number, blockedUntil: number): void {
    if (blockedUntil > 0) this.blocked.set(record, blockedUntil);
    else this.heap.add(record, this.fullAt(record));
  }

  /** Repositions a record after a change that may have made its bucket full sooner, or blocked or unblocked it. */
  update(record: number, blockedUntil: number): void {
    if (blockedUntil > 0) {
      if (!this.blocked.has(record) && !this.held.delete(record)) this.heap.remove(record);
      this.blocked.set(record, blockedUntil);
    } else if (this.blocked.delete(record) || this.held.delete(record)) {
      this.heap.add(record, this.fullAt(record));
    } else {
      this.heap.move(record, this.fullAt(record));
    }
  }

  /** The same for a bucket that is full now, and not blocked. */
  bringForward(record: number, now: number): void {
    if (this.held.size > 0 && this.held.delete(record)) this.heap.add(record, now);
    else if (this.heap.dueOf(record) > now) this.heap.move(record, now);
  }

  delete(record: number): void {
    if (!this.blocked.delete(record) && !this.held.delete(record)) this.heap.remove(record);
  }

  /**
   * Moves up to `max` records whose block has ended, and up to `max` that are no longer held, then examines up to `max`
   * that may be full, and passes those that have been full for `LINGER` to `drop`.
   */
  sweep(now: number, max: number, drop: (record: number) => void): void {
    for (let seen = 0; seen < max && this.blocked.firstEnd <= now; seen++) {
      const { first } = this.blocked;
      this.update(first, 0);
    }
    for (let seen = 0; seen < max && this.held.firstEnd <= now; seen++) this.update(this.held.first, 0);
    const latest = now - LINGER;
    for (let seen = 0; seen < max && this.heap.firstDue <= latest; seen++) {
      const { first } = this.heap;
      const due = this.fullAt(first);
      if (due <= latest) drop(first);
      else this.heap.move(first, due);
    }
  }

  /** When the unblocked bucket nearest to full that is not held will be full; `Infinity` if there is none. */
  nextFullAt(now: number): number {
    for (;;) {
      if (this.heap.size === 0) return Infinity;
      const { first, firstDue } = this.heap;
      const due = this.fullAt(first);
      if (due > now && this.isHeld(first)) {
        this.heap.remove(first);
        this.held.set(first, due);
      } else if (due <= firstDue) {
        return firstDue;
      } else {
        this.heap.move(first, due);
      }
    }
  }

  /** The record to drop first; `undefined` if there is none. */
  first(now: number): number | undefined {
    if (this.nextFullAt(now) < Infinity || this.heap.size > 0) return this.heap.first;
    return this.blocked.size > 0 ? this.blocked.first : undefined;
  }
}
