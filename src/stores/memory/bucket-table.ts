import type { BucketState, StateEntry, StatePart } from '../../core/algorithms/algorithm.js';
import { lifetime, newState } from '../../core/bucket-state.js';
import type { DecisionSource, StoreAnswer } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import type { Take } from '../../core/request.js';
import { detachedString } from '../../util/detached-string.js';
import type { BlockedSlots } from './blocked-slots.js';
import { EvictionOrder } from './eviction-order.js';
import { hasFastPath, takeFromLimits, takeFromOneBucket } from './fast-path.js';
import { SlotMap } from './slot-map.js';

const NO_SLOT = -1;

/** Key, clock, end of its block, and for each limit its debt or the entries of its part. */
export type DumpedBucket = [key: string, at: number, blockedUntil: number, limits: (number | StateEntry[])[]];

/** A bucket's state as `BucketTable.open` returns it. */
export interface OpenBucket extends BucketState {
  slot: number;
  key: string;
}

/**
 * The buckets of one policy, and of every policy with its name and numbers: they may block for different times. A
 * bucket is a slot in a flat array of numbers (its clock and a debt per limit), found by its key. State that is more than
 * a number is kept beside it; the few blocked and queued buckets are listed separately.
 * A take costs no more than the map look-up, because it leaves the eviction order alone.
 */
export class BucketTable {
  private readonly slots = new SlotMap();
  private readonly keys: string[] = [];
  /** The first free slot; its first cell holds the next one. */
  private free = NO_SLOT;
  private readonly width: number;
  private cells: Float64Array;
  /** One per limit for each slot, if the policy has limits with parts. */
  private readonly parts: (StatePart | undefined)[] = [];
  private readonly hasParts: boolean;
  /** Copies: V8 reads the elements of frozen arrays slowly. */
  private readonly lists: Pick<Policy, 'limits' | 'labels'>;
  private readonly fast: boolean;
  /** Whether the policy is a single bucket. */
  private readonly single: boolean;
  private readonly order = new EvictionOrder((slot) => this.dueOf(slot));
  readonly blocked: Pick<BlockedSlots, 'size' | 'has' | 'endOf' | 'firstEnd'> = this.order.blocked;
  /** When the last queued request of a bucket acts; only for buckets with a queue. */
  private readonly queueEnds = new Map<number, number>();
  private readonly boxes: OpenBucket[] = [];
  private readonly scratch: BucketState;

  constructor(readonly policy: Policy) {
    this.width = 1 + policy.limits.length;
    this.cells = new Float64Array(16 * this.width);
    this.scratch = newState(policy);
    this.hasParts = this.scratch.parts.some((part) => part !== undefined);
    this.fast = hasFastPath(policy);
    this.single = this.fast && policy.limits.length === 1 && !this.hasParts;
    this.lists = { limits: [...policy.limits], labels: [...policy.labels] };
  }

  get size(): number {
    return this.slots.size;
  }

  /**
   * The state of a key's bucket, to be changed and passed to `write` or `create`. It is a copy in one of the table's own boxes
   * (`box`), valid until that box is opened again; the lists of its parts are shared with the table.
   */
  open(key: string, box: number): OpenBucket {
    this.boxes[box] ??= { ...newState(this.policy), slot: NO_SLOT, key };
    const state = this.boxes[box];
    state.slot = this.slots.get(key) ?? NO_SLOT;
    state.key = key;
    this.load(state.slot, state);
    return state;
  }

  /** Takes by the fast path; `undefined`, with nothing changed, if the request needs `execute`. */
  takeNow(take: Take, now: number, source: DecisionSource): StoreAnswer | undefined {
    const slot = this.slots.get(take.key);
    if (slot === undefined || take.amount === 0 || (this.blocked.size > 0 && this.blocked.has(slot))) return undefined;
    const start = slot * this.width;
    // Of a single limit `amounts` has just `amount`.
    if (this.single) return takeFromOneBucket(take, this.cells, start, now, source);
    if (!this.fast || take.amounts) return undefined;
    // Another policy with the same numbers may have other limit names.
    const lists = take.policy === this.policy ? this.lists : take.policy;
    const parts = this.hasParts ? this.parts : undefined;
    return takeFromLimits(take, lists, this.cells, start, parts, this.firstPart(slot), now, source);
  }

  /** Whether the bucket is in the table by now. */
  has(bucket: OpenBucket): boolean {
    return bucket.slot !== NO_SLOT && this.keys[bucket.slot] === bucket.key;
  }

  /** Adds a bucket that is not in the table. */
  create(bucket: OpenBucket): void {
    const slot = this.free === NO_SLOT ? this.keys.length : this.free;
    if (slot === this.free) this.free = this.cells[slot * this.width] | 0;
    bucket.slot = slot;
    bucket.key = detachedString(bucket.key);
    this.keys[slot] = bucket.key;
    this.slots.add(bucket.key, slot);
    if ((slot + 1) * this.width > this.cells.length) {
      const cells = new Float64Array(this.cells.length * 2);
      cells.set(this.cells);
      this.cells = cells;
    }
    this.write(bucket);
    this.order.add(slot, bucket.blockedUntil);
  }

  /**
   * Writes a bucket back; returns whether its place in the eviction order is still right. It is not if the bucket is or was
   * blocked, or if its clock was set back, which may bring its end nearer.
   */
  write({ slot, at, blockedUntil, queueEnd, debts, parts }: OpenBucket): boolean {
    const { cells } = this;
    let cell = slot * this.width;
    const setBack = at < cells[cell];
    cells[cell++] = at;
    for (let i = 0; i < debts.length; i++) cells[cell++] = debts[i];
    if (queueEnd > 0) this.queueEnds.set(slot, queueEnd);
    else if (this.queueEnds.size > 0) this.queueEnds.delete(slot);
    if (this.hasParts) {
      const first = this.firstPart(slot);
      for (let i = 0; i < parts.length; i++) this.copyPart(parts, i, this.parts, first + i, i);
    }
    return !setBack && blockedUntil === 0 && !this.blocked.has(slot);
  }

  /** Puts a bucket in its right place in the eviction order after it was written. */
  reorder({ slot, blockedUntil }: OpenBucket): void {
    this.order.update(slot, blockedUntil);
  }

  /** Drops a bucket; returns 1, the number dropped. */
  delete(slot: number): number {
    this.order.delete(slot);
    this.queueEnds.delete(slot);
    this.slots.delete(this.keys[slot]);
    this.keys[slot] = '';
    if (this.hasParts) this.parts.fill(undefined, this.firstPart(slot), this.firstPart(slot + 1));
    this.cells[slot * this.width] = this.free;
    this.free = slot;
    return 1;
  }

  /** All buckets as plain data. */
  dump(): DumpedBucket[] {
    return [...this.slots.entries()].map(([key, slot]) => {
      this.load(slot, this.scratch);
      const { at, blockedUntil, debts, parts } = this.scratch;
      return [key, at, blockedUntil, debts.map((debt, i) => parts[i]?.entries() ?? debt)];
    });
  }

  /** Adds a dumped bucket, unless its key has one by now; returns whether it did. */
  restore([key, at, blockedUntil, limits]: DumpedBucket): boolean {
    if (this.slots.get(key) !== undefined) return false;
    const bucket: OpenBucket = { ...newState(this.policy), slot: NO_SLOT, key, at, blockedUntil };
    limits.forEach((limit, i) => {
      if (typeof limit === 'number') bucket.debts[i] = limit;
      else bucket.parts[i]?.fill(limit);
    });
    if (lifetime(this.policy, bucket, at) === 0) return false;
    this.create(bucket);
    return true;
  }

  /** Drops up to `most` buckets that have been full for a while; returns how many. */
  sweep(now: number, most: number): number {
    let dropped = 0;
    this.order.sweep(now, most, (slot) => {
      dropped += this.delete(slot);
    });
    return dropped;
  }

  /** When the unblocked bucket nearest to full will be full; `Infinity` if there is none. */
  nearest(): number {
    return this.order.nearest();
  }

  get hasUnblocked(): boolean {
    return this.order.hasUnblocked;
  }

  /** Drops the bucket nearest to full, or if all are blocked the one whose block ends first; returns how many. */
  evict(): number {
    const slot = this.order.first();
    return slot === undefined ? 0 : this.delete(slot);
  }

  /** Drops the bucket whose block ends first; returns how many. */
  evictBlocked(): number {
    return this.blocked.size > 0 ? this.delete(this.order.blocked.first) : 0;
  }

  /** Copies a slot into `state`; without a slot, a full bucket. */
  private load(slot: number, state: BucketState): void {
    const { debts, parts } = state;
    state.changed = false;
    state.blockedUntil = 0;
    state.queueEnd = 0;
    if (slot === NO_SLOT) {
      state.at = 0;
      for (let i = 0; i < debts.length; i++) debts[i] = 0;
      if (this.hasParts) for (let i = 0; i < parts.length; i++) parts[i] = this.newPart(i);
      return;
    }
    const { cells } = this;
    let cell = slot * this.width;
    state.at = cells[cell++];
    for (let i = 0; i < debts.length; i++) debts[i] = cells[cell++];
    const first = this.firstPart(slot);
    if (this.hasParts) for (let i = 0; i < parts.length; i++) this.copyPart(this.parts, first + i, parts, i, i);
    if (this.blocked.size > 0) state.blockedUntil = this.blocked.endOf(slot);
    if (this.queueEnds.size > 0) state.queueEnd = this.queueEnds.get(slot) ?? 0;
  }

  /** Makes `to[k]` equal to `from[j]`, in a part of its own: a change of the one is not seen in the other. */
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

  private firstPart(slot: number): number {
    return slot * (this.width - 1);
  }

  /** When the bucket in a slot will be full. */
  private dueOf(slot: number): number {
    const state = this.scratch;
    this.load(slot, state);
    return state.at + lifetime(this.policy, state, state.at);
  }
}

type Parts = (StatePart | undefined)[];
