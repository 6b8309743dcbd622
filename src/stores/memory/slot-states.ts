import type { BucketState, Mark, StatePart } from '../../core/algorithms/algorithm.js';
import { newState } from '../../core/bucket-state.js';
import type { Policy } from '../../core/policy.js';

const NO_SLOT = -1;
const NO_MARKS: readonly Mark[] = [];

/**
 * The states of the buckets of one policy, each in a numbered slot of a flat array: its time, followed by a debt for
 * each limit. State that is more than a number is kept beside it. Blocks are not kept here.
 */
export class SlotStates {
  /** Numbers per slot. */
  readonly width: number;
  /** Replaced when it grows. */
  cells: Float64Array;
  /** The `StatePart` of each limit of each slot; `undefined` if no limit of the policy has one. */
  readonly parts: (StatePart | undefined)[] | undefined;
  private used = 0;
  /** The first slot that was freed; its first cell holds the next one. */
  private free = NO_SLOT;
  /** When the last queued request may proceed, by slot; only for buckets with a queue. */
  private readonly queueEnds = new Map<number, number>();
  /** Marks by slot; only for buckets with takes that may still be refunded. */
  private readonly marks = new Map<number, readonly Mark[]>();

  constructor(private readonly policy: Policy) {
    this.width = 1 + policy.limits.length;
    this.cells = new Float64Array(16 * this.width);
    this.parts = newState(policy).parts.some((part) => part !== undefined) ? [] : undefined;
  }

  /** Returns a slot that is not in use. Its contents are arbitrary until `save`. */
  allocate(): number {
    const slot = this.free === NO_SLOT ? this.used++ : this.free;
    if (slot === this.free) this.free = this.cells[slot * this.width] | 0;
    if ((slot + 1) * this.width > this.cells.length) {
      const cells = new Float64Array(this.cells.length * 2);
      cells.set(this.cells);
      this.cells = cells;
    }
    return slot;
  }

  release(slot: number): void {
    this.queueEnds.delete(slot);
    this.marks.delete(slot);
    this.parts?.fill(undefined, this.firstPart(slot), this.firstPart(slot + 1));
    this.cells[slot * this.width] = this.free;
    this.free = slot;
  }

  /** The time at which a slot's state is valid. */
  timeOf(slot: number): number {
    return this.cells[slot * this.width];
  }

  /** Whether takes from a slot's bucket may still be refunded. */
  hasMarks(slot: number): boolean {
    return this.marks.size > 0 && this.marks.has(slot);
  }

  /** The index in `parts` of the first limit of a slot. */
  firstPart(slot: number): number {
    return slot * (this.width - 1);
  }

  /** Copies a slot into `state`, unblocked. Parts are copies that may share lists (see `StatePart.assign`). */
  load(slot: number, state: BucketState): void {
    const { debts } = state;
    let cell = slot * this.width;
    state.changed = false;
    state.blockedUntil = 0;
    state.at = this.cells[cell++];
    for (let i = 0; i < debts.length; i++) debts[i] = this.cells[cell++];
    const first = this.firstPart(slot);
    if (this.parts) for (let i = 0; i < debts.length; i++) this.copyPart(this.parts, first + i, state.parts, i, i);
    state.queueEnd = this.queueEnds.size > 0 ? (this.queueEnds.get(slot) ?? 0) : 0;
    state.marks = (this.marks.size > 0 && this.marks.get(slot)) || NO_MARKS;
  }

  /** Sets `state` to that of a full bucket. */
  loadFull(state: BucketState): void {
    const { debts, parts } = state;
    state.changed = false;
    state.blockedUntil = 0;
    state.queueEnd = 0;
    state.marks = NO_MARKS;
    state.at = 0;
    for (let i = 0; i < debts.length; i++) debts[i] = 0;
    if (this.parts) for (let i = 0; i < parts.length; i++) parts[i] = this.newPart(i);
  }

  /** Copies `state` into a slot, except its block. */
  save(slot: number, { at, queueEnd, debts, parts, marks }: BucketState): void {
    const { cells } = this;
    let cell = slot * this.width;
    cells[cell++] = at;
    for (let i = 0; i < debts.length; i++) cells[cell++] = debts[i];
    if (queueEnd > 0) this.queueEnds.set(slot, queueEnd);
    else if (this.queueEnds.size > 0) this.queueEnds.delete(slot);
    if (marks.length > 0) this.marks.set(slot, marks);
    else if (this.marks.size > 0) this.marks.delete(slot);
    const first = this.firstPart(slot);
    if (this.parts) for (let i = 0; i < parts.length; i++) this.copyPart(parts, i, this.parts, first + i, i);
  }

  /** Assigns `from[j]`, a part of limit `i`, to `to[k]`, which is created if needed. */
  private copyPart(from: Parts, j: number, to: Parts, k: number, i: number): void {
    const part = from[j];
    if (!part) {
      to[k] = undefined;
      return;
    }
    to[k] ??= this.newPart(i);
    to[k]?.assign(part);
  }

  private newPart(i: number): StatePart | undefined {
    return this.policy.limits[i].algorithm.newPart();
  }
}

type Parts = (StatePart | undefined)[];
