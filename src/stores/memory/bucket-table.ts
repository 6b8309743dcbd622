import { AdmissionLog } from '../../core/algorithms/sliding-window.js';
import { type BucketState, lifetime, newState } from '../../core/bucket-state.js';
import type { DecisionSource, StoreAnswer } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import type { Take } from '../../core/request.js';
import { DueHeap } from './due-heap.js';
import { takeOne, takeSeveral } from './fast-path.js';
import { SlotMap } from './slot-map.js';

const NO_SLOT = -1;
/** ms for which a bucket is kept though it is full: most clients come again, and then it need not be made anew. */
const LINGER = 10_000;

/** Key, clock, end of its block, and for each limit its debt or its admissions as time, amount, time, amount, … */
export type DumpedBucket = [key: string, at: number, blockedUntil: number, parts: (number | number[])[]];

/** A bucket's state as `BucketTable.open` hands it out. */
export interface OpenBucket extends BucketState {
  slot: number;
  key: string;
}

/**
 * The buckets of one policy, and of all of its name and numbers: they may block for different times. A bucket is a slot
 * in a flat array of numbers (its clock and a debt per limit), found by its key; windows keep their logs beside it, and
 * the few that are blocked are listed apart.
 *
 * Buckets that are not blocked stand in a heap by the instant when they will be full, which is when they may be
 * forgotten. A take only moves that instant away, so it leaves the heap alone: a bucket that comes up too early is
 * put back then. So a take costs no more than the map look-up.
 */
export class BucketTable {
  private readonly slots = new SlotMap();
  private readonly keys: string[] = [];
  /** The first free slot; its first cell names the next one. */
  private free = NO_SLOT;
  private readonly width: number;
  private cells: Float64Array;
  /** As many for each slot as there are limits; a bucket has none. */
  private readonly logs: (AdmissionLog | undefined)[] = [];
  private readonly windowed: boolean;
  /** Copies: of frozen arrays V8 reads the elements slowly. */
  private readonly lists: Pick<Policy, 'limits' | 'labels'>;
  /** Whether the policy is one bucket and nothing else. */
  private readonly single: boolean;
  private readonly blocked = new Map<number, number>();
  private readonly blockEnds = new DueHeap();
  /** When the line in front of a bucket ends; of those only at which somebody has waited. */
  private readonly lineEnds = new Map<number, number>();
  private readonly heap = new DueHeap();
  private readonly boxes: OpenBucket[] = [];
  private readonly scratch: BucketState;

  constructor(readonly policy: Policy) {
    this.width = 1 + policy.limits.length;
    this.cells = new Float64Array(16 * this.width);
    this.windowed = policy.limits.some((limit) => limit.kind === 'window');
    this.single = policy.limits.length === 1 && !this.windowed;
    this.lists = { limits: [...policy.limits], labels: [...policy.labels] };
    this.scratch = newState(policy);
  }

  get size(): number {
    return this.slots.size;
  }

  /**
   * The state of a key's bucket, to be changed and given to `save`. It is a copy in one of the table's own boxes (box
   * `box`), so it lives until that box is opened again; the lists of its logs are shared with the table.
   */
  open(key: string, box: number): OpenBucket {
    this.boxes[box] ??= { ...newState(this.policy), slot: NO_SLOT, key };
    const state = this.boxes[box];
    state.slot = this.slots.get(key) ?? NO_SLOT;
    state.key = key;
    this.load(state.slot, state);
    return state;
  }

  /** Takes in one of the quick ways; `undefined`, and nothing changed, where `execute` must be asked. */
  takeNow(take: Take, now: number, source: DecisionSource): StoreAnswer | undefined {
    const slot = this.slots.get(take.key);
    if (slot === undefined || take.amount === 0 || (this.blocked.size > 0 && this.blocked.has(slot))) return undefined;
    const start = slot * this.width;
    if (this.single) return takeOne(take, this.cells, start, now, source);
    // Another policy of the same numbers may call its limits by other names.
    const lists = take.policy === this.policy ? this.lists : take.policy;
    const logs = this.windowed ? this.logs : undefined;
    return takeSeveral(take, lists, this.cells, start, logs, this.firstLog(slot), now, source);
  }

  /** Whether the bucket is kept by now. */
  has(bucket: OpenBucket): boolean {
    return bucket.slot !== NO_SLOT && this.keys[bucket.slot] === bucket.key;
  }

  /** Keeps a bucket that was not kept. */
  create(bucket: OpenBucket): void {
    const slot = this.free === NO_SLOT ? this.keys.length : this.free;
    if (slot === this.free) this.free = this.cells[slot * this.width] | 0;
    bucket.slot = slot;
    this.keys[slot] = bucket.key;
    this.slots.add(bucket.key, slot);
    if ((slot + 1) * this.width > this.cells.length) {
      const cells = new Float64Array(this.cells.length * 2);
      cells.set(this.cells);
      this.cells = cells;
    }
    this.write(bucket);
    if (bucket.blockedUntil > 0) this.block(slot, bucket.blockedUntil);
    else this.heap.add(slot, this.dueOf(bucket));
  }

  /**
   * Writes a kept bucket back; returns whether it still stands where it belongs. It does not if it is or was blocked,
   * or if its clock was set back, which may bring its end nearer.
   */
  write({ slot, at, blockedUntil, lineEnd, debts, logs }: OpenBucket): boolean {
    const { cells } = this;
    let cell = slot * this.width;
    const setBack = at < cells[cell];
    cells[cell++] = at;
    for (let i = 0; i < debts.length; i++) cells[cell++] = debts[i];
    if (lineEnd > 0) this.lineEnds.set(slot, lineEnd);
    else if (this.lineEnds.size > 0) this.lineEnds.delete(slot);
    if (this.windowed) {
      const first = this.firstLog(slot);
      for (let i = 0; i < logs.length; i++) copyLog(logs, i, this.logs, first + i);
    }
    return !setBack && blockedUntil === 0 && !this.blocked.has(slot);
  }

  /** Puts a kept bucket where it belongs after a change that may have brought its end nearer, blocked or unblocked it. */
  settle(bucket: OpenBucket): void {
    const { slot, blockedUntil } = bucket;
    if (blockedUntil > 0) {
      if (!this.blocked.has(slot)) this.heap.remove(slot);
      this.block(slot, blockedUntil);
    } else if (this.endBlock(slot)) {
      this.heap.add(slot, this.dueOf(bucket));
    } else {
      this.heap.move(slot, this.dueOf(bucket));
    }
  }

  /** Forgets a bucket; returns 1, how many that are. */
  delete(slot: number): number {
    if (!this.endBlock(slot)) this.heap.remove(slot);
    this.lineEnds.delete(slot);
    this.slots.delete(this.keys[slot]);
    this.keys[slot] = '';
    if (this.windowed) this.logs.fill(undefined, this.firstLog(slot), this.firstLog(slot + 1));
    this.cells[slot * this.width] = this.free;
    this.free = slot;
    return 1;
  }

  /** All buckets, as they are. */
  dump(): DumpedBucket[] {
    return [...this.slots.entries()].map(([key, slot]) => {
      this.load(slot, this.scratch);
      const { at, blockedUntil, debts, logs } = this.scratch;
      return [key, at, blockedUntil, debts.map((debt, i) => logs[i]?.entries() ?? debt)];
    });
  }

  /** Keeps a dumped bucket, unless its key has one by now. */
  restore([key, at, blockedUntil, parts]: DumpedBucket): boolean {
    if (this.slots.get(key) !== undefined) return false;
    const bucket: OpenBucket = { ...newState(this.policy), slot: NO_SLOT, key, at, blockedUntil };
    parts.forEach((part, i) => {
      if (typeof part === 'number') bucket.debts[i] = part;
      else bucket.logs[i]?.fill(part);
    });
    if (lifetime(this.policy, bucket, at) === 0) return false;
    this.create(bucket);
    return true;
  }

  /** Looks at up to `most` buckets that may be full and forgets those that have been for a while; returns how many. */
  sweep(now: number, most: number): number {
    let forgotten = 0;
    for (let looked = 0; looked < most && this.blockEnds.firstDue <= now; looked++) {
      const { first } = this.blockEnds;
      this.endBlock(first);
      this.heap.add(first, this.due(first));
    }
    const latest = now - LINGER;
    for (let looked = 0; looked < most && this.heap.firstDue <= latest; looked++) {
      const { first } = this.heap;
      const due = this.due(first);
      if (due <= latest) forgotten += this.delete(first);
      else this.heap.move(first, due);
    }
    return forgotten;
  }

  /** When the bucket nearest to full will be full; those that are blocked do not count unless all are. */
  nearest(): number {
    for (;;) {
      if (this.heap.size === 0) return Infinity;
      const { first, firstDue } = this.heap;
      const due = this.due(first);
      if (due <= firstDue) return firstDue;
      this.heap.move(first, due);
    }
  }

  get hasUnblocked(): boolean {
    return this.heap.size > 0;
  }

  /** Forgets the bucket nearest to full, or if all are blocked the one whose block ends first; returns how many. */
  evict(): number {
    if (this.heap.size > 0) {
      this.nearest();
      return this.delete(this.heap.first);
    }
    return this.blockEnds.size > 0 ? this.delete(this.blockEnds.first) : 0;
  }

  /** Copies a slot into `state`; without a slot, a full bucket. */
  private load(slot: number, state: BucketState): void {
    const { debts, logs } = state;
    state.changed = false;
    state.blockedUntil = 0;
    state.lineEnd = 0;
    if (slot === NO_SLOT) {
      state.at = 0;
      for (let i = 0; i < debts.length; i++) debts[i] = 0;
      if (this.windowed) {
        for (let i = 0; i < logs.length; i++) if (logs[i]) logs[i] = new AdmissionLog();
      }
      return;
    }
    const { cells } = this;
    let cell = slot * this.width;
    state.at = cells[cell++];
    for (let i = 0; i < debts.length; i++) debts[i] = cells[cell++];
    if (this.windowed) for (let i = 0; i < logs.length; i++) copyLog(this.logs, this.firstLog(slot) + i, logs, i);
    if (this.blocked.size > 0) state.blockedUntil = this.blocked.get(slot) ?? 0;
    if (this.lineEnds.size > 0) state.lineEnd = this.lineEnds.get(slot) ?? 0;
  }

  private firstLog(slot: number): number {
    return slot * (this.width - 1);
  }

  private block(slot: number, until: number): void {
    if (this.blocked.has(slot)) this.blockEnds.move(slot, until);
    else this.blockEnds.add(slot, until);
    this.blocked.set(slot, until);
  }

  /** Returns whether it was blocked. */
  private endBlock(slot: number): boolean {
    if (!this.blocked.delete(slot)) return false;
    this.blockEnds.remove(slot);
    return true;
  }

  private due(slot: number): number {
    this.load(slot, this.scratch);
    return this.dueOf(this.scratch);
  }

  private dueOf(state: BucketState): number {
    return state.at + lifetime(this.policy, state, state.at);
  }
}

type Logs = (AdmissionLog | undefined)[];

/** Makes `to[k]` the same as `from[i]`, in a log of its own: passing over old entries in one does not reach the other. */
function copyLog(from: Logs, i: number, to: Logs, k: number): void {
  const log = from[i];
  if (!log) {
    to[k] = undefined;
    return;
  }
  to[k] ??= new AdmissionLog();
  to[k].assign(log);
}
