import type { BucketState, Scale, StatePart } from '../../core/algorithms/algorithm.js';
import { newState } from '../../core/bucket-state.js';
import type { Policy } from '../../core/policy.js';

const NO_RECORD = -1;

/** What few buckets have. */
type RareState = Pick<BucketState, 'queueEnd' | 'queue' | 'marks'>;

const NONE: RareState = { queueEnd: 0, queue: undefined, marks: [] };

/**
 * The states of the buckets of one policy, each in a numbered record of a flat array: its time, followed by a debt for
 * each limit. State that is more than a number is kept beside it. Blocks are not kept here.
 */
export class RecordStates {
  /** Numbers per record. */
  readonly width: number;
  /** Replaced when it grows. */
  cells: Float64Array;
  /** The `StatePart` of each limit of each record; `undefined` if no limit of the policy has one. */
  readonly parts: (StatePart | undefined)[] | undefined;
  /** The scales of each record; `undefined` if the numbers of the policy are constant. */
  readonly scales: (readonly Scale[] | undefined)[] | undefined;
  private used = 0;
  /** The first record that was freed; its first cell holds the next one. */
  private free = NO_RECORD;
  /** By record; only for buckets with a queue, or with takes that may still be refunded. */
  private readonly rare = new Map<number, RareState>();

  constructor(private readonly policy: Policy) {
    this.width = 1 + policy.limits.length;
    this.cells = new Float64Array(16 * this.width);
    this.parts = newState(policy).parts.some((part) => part !== undefined) ? [] : undefined;
    this.scales = policy.scales && [];
  }

  /** Returns a record that is not in use. Its contents are arbitrary until `save`. */
  allocate(): number {
    const record = this.free === NO_RECORD ? this.used++ : this.free;
    if (record === this.free) this.free = this.cells[record * this.width] | 0;
    if ((record + 1) * this.width > this.cells.length) {
      const cells = new Float64Array(this.cells.length * 2);
      cells.set(this.cells);
      this.cells = cells;
    }
    return record;
  }

  release(record: number): void {
    this.rare.delete(record);
    if (this.scales) this.scales[record] = undefined;
    this.parts?.fill(undefined, this.firstPart(record), this.firstPart(record + 1));
    this.cells[record * this.width] = this.free;
    this.free = record;
  }

  /** The time at which a record's state is valid. */
  timeOf(record: number): number {
    return this.cells[record * this.width];
  }

  /** Whether a record's bucket has no queue, and no takes that may still be refunded. */
  isPlain(record: number): boolean {
    return this.rare.size === 0 || !this.rare.has(record);
  }

  /** The index in `parts` of the first limit of a record. */
  firstPart(record: number): number {
    return record * (this.width - 1);
  }

  /** Copies a record into `state`, unblocked. Parts are copies that may share lists (see `StatePart.assign`). */
  load(record: number, state: BucketState): void {
    const { debts } = state;
    let cell = record * this.width;
    state.changed = false;
    state.blockedUntil = 0;
    state.at = this.cells[cell++];
    for (let i = 0; i < debts.length; i++) debts[i] = this.cells[cell++];
    state.scales = this.scales?.[record];
    const first = this.firstPart(record);
    if (this.parts) for (let i = 0; i < debts.length; i++) this.copyPart(this.parts, first + i, state.parts, i, i);
    setRare(state, (this.rare.size > 0 && this.rare.get(record)) || NONE);
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

  /** Copies `state` into a record, except its block. */
  save(record: number, { at, queueEnd, queue, debts, parts, marks, scales }: BucketState): void {
    const { cells } = this;
    let cell = record * this.width;
    cells[cell++] = at;
    for (let i = 0; i < debts.length; i++) cells[cell++] = debts[i];
    if (queueEnd > 0 || marks.length > 0) this.rare.set(record, { queueEnd, queue, marks });
    else if (this.rare.size > 0) this.rare.delete(record);
    if (this.scales) this.scales[record] = scales;
    const first = this.firstPart(record);
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
