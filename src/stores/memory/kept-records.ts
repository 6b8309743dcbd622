import { DueHeap } from './due-heap.js';

/** Records that are kept until an instant, such as those of blocked buckets, in the order of these ends. */
export class KeptRecords {
  private readonly ends = new Map<number, number>();
  private readonly heap = new DueHeap();

  get size(): number {
    return this.ends.size;
  }

  /** The record whose end comes first; there must be one. */
  get first(): number {
    return this.heap.first;
  }

  /** The first end; `Infinity` if there is none. */
  get firstEnd(): number {
    return this.heap.firstDue;
  }

  has(record: number): boolean {
    return this.ends.has(record);
  }

  /** The end of a record; 0 if it is not among these. */
  endOf(record: number): number {
    return this.ends.get(record) ?? 0;
  }

  /** Adds a record, or moves its end. */
  set(record: number, end: number): void {
    if (this.ends.has(record)) this.heap.move(record, end);
    else this.heap.add(record, end);
    this.ends.set(record, end);
  }

  /** Removes a record; returns whether it was among these. */
  delete(record: number): boolean {
    if (!this.ends.delete(record)) return false;
    this.heap.remove(record);
    return true;
  }
}
