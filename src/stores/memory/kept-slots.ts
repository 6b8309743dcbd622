import { DueHeap } from './due-heap.js';

/** Slots that are kept until an instant, such as those of blocked buckets, in the order of these ends. */
export class KeptSlots {
  private readonly ends = new Map<number, number>();
  private readonly heap = new DueHeap();

  get size(): number {
    return this.ends.size;
  }

  /** The slot whose end comes first; there must be one. */
  get first(): number {
    return this.heap.first;
  }

  /** The first end; `Infinity` if there is none. */
  get firstEnd(): number {
    return this.heap.firstDue;
  }

  has(slot: number): boolean {
    return this.ends.has(slot);
  }

  /** The end of a slot; 0 if it is not among these. */
  endOf(slot: number): number {
    return this.ends.get(slot) ?? 0;
  }

  /** Adds a slot, or moves its end. */
  set(slot: number, end: number): void {
    if (this.ends.has(slot)) this.heap.move(slot, end);
    else this.heap.add(slot, end);
    this.ends.set(slot, end);
  }

  /** Removes a slot; returns whether it was among these. */
  delete(slot: number): boolean {
    if (!this.ends.delete(slot)) return false;
    this.heap.remove(slot);
    return true;
  }
}
