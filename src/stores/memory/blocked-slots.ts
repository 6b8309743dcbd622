import { DueHeap } from './due-heap.js';

/** The slots whose buckets are blocked, in the order in which their blocks end. */
export class BlockedSlots {
  private readonly ends = new Map<number, number>();
  private readonly heap = new DueHeap();

  get size(): number {
    return this.ends.size;
  }

  /** The slot whose block ends first; there must be one. */
  get first(): number {
    return this.heap.first;
  }

  /** When the first block ends; `Infinity` if there is none. */
  get firstEnd(): number {
    return this.heap.firstDue;
  }

  has(slot: number): boolean {
    return this.ends.has(slot);
  }

  /** When the slot's block ends; 0 if it is not blocked. */
  endOf(slot: number): number {
    return this.ends.get(slot) ?? 0;
  }

  /** Blocks a slot, or moves the end of its block. */
  set(slot: number, end: number): void {
    if (this.ends.has(slot)) this.heap.move(slot, end);
    else this.heap.add(slot, end);
    this.ends.set(slot, end);
  }

  /** Unblocks a slot; returns whether it was blocked. */
  delete(slot: number): boolean {
    if (!this.ends.delete(slot)) return false;
    this.heap.remove(slot);
    return true;
  }
}
