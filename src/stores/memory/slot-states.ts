import type { BucketState, Scale, StatePart } from '../../core/algorithms/algorithm.js';
import { newState } from '../../core/bucket-state.js';
import type { Policy } from '../../core/policy.js';

const NO_SLOT = -1;

/** What few buckets have. */
type RareState = Pick<BucketState, 'queueEnd' | 'queue' | 'marks'>;

const NONE: RareState = { queueEnd: 0, queue: undefined, marks: [] };

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
  /** The scales of each slot; `undefined` if the numbers of the policy are constant. */
  readonly scales: (readonly Scale[] | undefined)[] | undefined;
  private used = 0;
  /** The first slot that was freed; its first cell holds the next one. */
  private free = NO_SLOT;
  /** By slot; only for buckets with a queue, or with takes that may still be refunded. */
  private readonly rare = new Map<number, RareState>();

  constructor(private readonly policy: Policy) {
    this.width = 1 + policy.limits.length;
    this.cells = new Float64Array(16 * this.width);
    this.parts = newState(policy).parts.some((part) => part !== undefined) ? [] : undefined;
    this.scales = policy.scales && [];
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
    this.rare.delete(slot);
    if (this.scales) this.scales[slot] = undefined;
    this.parts?.fill(undefined, this.firstPart(slot), this.firstPart(slot + 1));
    this.cells[slot * this.width] = this.free;
    this.free = slot;
  }

  /** The time at which a slot's state is valid. */
  timeOf(slot: number): number {
    return this.cells[slot * this.width];
  }

  /** Whether a slot's bucket has no queue, and no takes that may still be refunded. */
  isPlain(slot: number): boolean {
    return this.rare.size === 0 || !this.rare.has(slot);
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
    state.scales = this.scales?.[slot];
    const first = this.firstPart(slot);
    if (this.parts) for (let i = 0; i < debts.length; i++) this.copyPart(this.parts, first + i, state.parts, i, i);
    setRare(state, (this.rare.size > 0 && this.rare.get(slot)) || NONE);
  }

  /** Sets `state` to that of a full bucket. */
  loadFull(state: BucketState): void {
    const { debts, parts } = state;
    state.changed = false;
    state.blockedUntil = 0;
    setRare(state, NONE);
    state.scales = undefined;
    state.at = 0;
    for (let i = 0; i < debts.length; i++) debts[i] = 0;
    if (this.parts) for (let i = 0; i < parts.length; i++) parts[i] = this.newPart(i);
  }

  /** Copies `state` into a slot, except its block. */
  save(slot: number, { at, queueEnd, queue, debts, parts, marks, scales }: BucketState): void {
    const { cells } = this;
    let cell = slot * this.width;
    cells[cell++] = at;
    for (let i = 0; i < debts.length; i++) cells[cell++] = debts[i];
    if (queueEnd > 0 || marks.length > 0) this.rare.set(slot, { queueEnd, queue, marks });
    else if (this.rare.size > 0) this.rare.delete(slot);
    if (this.scales) this.scales[slot] = scales;
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

function setRare(state: BucketState, { queueEnd, queue, marks }: RareState): void {
  state.queueEnd = queueEnd;
  state.queue = queue;
  state.marks = marks;
}
