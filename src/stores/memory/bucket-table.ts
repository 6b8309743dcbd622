import type { BucketState, Scale, StateEntry } from '../../core/algorithms/algorithm.js';
import { heldSlots } from '../../core/algorithms/concurrency.js';
import type { Holders } from '../../core/algorithms/holders.js';
import { lifetime, newState } from '../../core/bucket-state.js';
import type { DecisionSource, StoreAnswer } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import type { Take } from '../../core/request.js';
import { detachedString } from '../../util/detached-string.js';
import { reportToOneLimit, takeOneSlot } from './concurrency-fast-path.js';
import { EvictionOrder } from './eviction-order.js';
import { hasFastPath, takeFromLimits, takeFromOneBucket } from './fast-path.js';
import type { KeptSlots } from './kept-slots.js';
import { SlotMap } from './slot-map.js';
import { SlotStates } from './slot-states.js';

/**
 * One bucket of a `MemoryDump`: its key, its clock and the end of its block (ms since 1970; 0: not blocked), and for each
 * limit its debt in units or the entries of its `StatePart`; the scales of its debts, if they differ between requests.
 */
export type DumpedBucket = [
  key: string,
  at: number,
  blockedUntil: number,
  limits: (number | StateEntry[])[],
  scales?: readonly Scale[],
];

/** A bucket's state as `BucketTable.open` returns it; `slot` is `undefined` if the bucket is not in the table. */
export interface OpenBucket extends BucketState {
  slot: number | undefined;
  key: string;
}

/** A bucket that is in the table. */
type PlacedBucket = OpenBucket & { slot: number };

/**
 * The buckets of all policies with one `id`: of the same name and limits, though they may block for different times. A
 * bucket is a slot, found by its key. A take costs no more than the map look-up, because it leaves the eviction order
 * alone.
 */
export class BucketTable {
  private readonly slots = new SlotMap();
  private readonly keys: string[] = [];
  private readonly states: SlotStates;
  /** Copies: V8 reads the elements of frozen arrays slowly. */
  private readonly lists: Pick<Policy, 'limits' | 'labels'>;
  private readonly hasFastPath: boolean;
  /** Whether the policy is a single bucket. */
  private readonly isSingleBucket: boolean;
  /** Whether its numbers are constant, too. */
  private readonly isConstantBucket: boolean;
  /** Whether the policy is a single concurrency limit. */
  private readonly isSingleConcurrency: boolean;
  private readonly order = new EvictionOrder(
    (slot) => this.fullAt(slot),
    (slot) => this.isHeld(slot),
  );
  readonly blocked: Pick<KeptSlots, 'size' | 'has' | 'endOf' | 'firstEnd'> = this.order.blocked;
  private readonly opened: OpenBucket[] = [];
  private readonly scratch: BucketState;

  constructor(readonly policy: Policy) {
    this.states = new SlotStates(policy);
    this.scratch = newState(policy);
    this.hasFastPath = hasFastPath(policy);
    this.isSingleBucket = this.hasFastPath && policy.limits.length === 1 && !this.states.parts;
    this.isConstantBucket = this.isSingleBucket && !this.states.scales;
    this.isSingleConcurrency = policy.limits.length === 1 && policy.slotIndex === 0;
    this.lists = { limits: [...policy.limits], labels: [...policy.labels] };
  }

  get size(): number {
    return this.slots.size;
  }

  /**
   * The state of a key's bucket, to be changed and passed to `write` or `create`. The object is reused: it is valid until
   * `open` is called with the same `index`. The lists of its parts are shared with the table.
   */
  open(key: string, index: number): OpenBucket {
    this.opened[index] ??= { ...newState(this.policy), slot: undefined, key };
    const state = this.opened[index];
    state.slot = this.slots.get(key);
    state.key = key;
    if (state.slot === undefined) this.states.loadFull(state);
    else this.load(state.slot, state);
    return state;
  }

  /** Takes by the fast path; `undefined`, with nothing changed, if the request needs `execute`. */
  takeFast(take: Take, now: number, source: DecisionSource): StoreAnswer | undefined {
    const slot = this.slots.get(take.key);
    if (slot === undefined || take.amount === 0 || take.mark !== undefined) return undefined;
    const { states } = this;
    if (!states.isPlain(slot) || (this.blocked.size > 0 && this.blocked.has(slot))) return undefined;
    const start = slot * states.width;
    // With a single limit `amounts` contains only `amount`.
    if (this.isConstantBucket) return takeFromOneBucket(take, states.cells, start, now, source);
    if (this.isSingleConcurrency) return takeOneSlot(take, this.holdersOf(slot), states.cells, start, now, source);
    if (!this.hasFastPath || take.amounts) return undefined;
    if (states.scales && states.scales[slot] !== take.policy.scales) return undefined;
    if (this.isSingleBucket) return takeFromOneBucket(take, states.cells, start, now, source);
    // Another policy with the same id may have other limit names, or other numbers.
    const lists = take.policy === this.policy ? this.lists : take.policy;
    return takeFromLimits(take, lists, states.cells, start, states.parts, states.firstPart(slot), now, source);
  }

  /** Sets the slots that a process holds by the fast path; as `takeFast`. */
  holdFast(take: Take, now: number, source: DecisionSource): StoreAnswer | undefined {
    const slot = this.isSingleConcurrency ? this.slots.get(take.key) : undefined;
    if (slot === undefined) return undefined;
    const { states } = this;
    if (!states.isPlain(slot) || (this.blocked.size > 0 && this.blocked.has(slot))) return undefined;
    const answer = reportToOneLimit(take, this.holdersOf(slot), states.cells, slot * states.width, now, source);
    if (answer && take.holder?.count === 0) this.order.bringForward(slot, now);
    return answer;
  }

  /** Whether an opened bucket is in the table; it may have been evicted since. */
  has(bucket: OpenBucket): bucket is PlacedBucket {
    return bucket.slot !== undefined && this.keys[bucket.slot] === bucket.key;
  }

  /** Adds a bucket that is not in the table. */
  create(bucket: OpenBucket): void {
    const slot = this.states.allocate();
    const key = detachedString(bucket.key);
    this.keys[slot] = key;
    this.slots.add(key, slot);
    this.states.save(slot, bucket);
    this.order.add(slot, bucket.blockedUntil);
  }

  /**
   * Writes a bucket back; returns whether its place in the eviction order is still right. It is not if the bucket is or was
   * blocked, or if its clock was set back, which may bring its end nearer.
   */
  write(bucket: PlacedBucket): boolean {
    const { slot, at, blockedUntil } = bucket;
    const isSetBack = at < this.states.timeOf(slot);
    this.states.save(slot, bucket);
    return !isSetBack && blockedUntil === 0 && !this.blocked.has(slot);
  }

  /** Puts a bucket in its right place in the eviction order after it was written. */
  reorder({ slot, blockedUntil }: PlacedBucket): void {
    this.order.update(slot, blockedUntil);
  }

  /** Drops a bucket; returns 1, the number dropped. */
  delete(slot: number): number {
    this.order.delete(slot);
    this.slots.delete(this.keys[slot]);
    this.keys[slot] = '';
    this.states.release(slot);
    return 1;
  }

  /** All buckets as plain data. */
  dump(): DumpedBucket[] {
    return [...this.slots.entries()].map(([key, slot]) => {
      this.load(slot, this.scratch);
      const { at, blockedUntil, debts, parts, scales } = this.scratch;
      const limits = debts.map((debt, i) => parts[i]?.entries() ?? debt);
      return scales ? [key, at, blockedUntil, limits, scales] : [key, at, blockedUntil, limits];
    });
  }

  /** Adds a dumped bucket unless it is full or its key already has a bucket; returns whether it was added. */
  restore([key, at, blockedUntil, limits, scales]: DumpedBucket): boolean {
    if (this.slots.get(key) !== undefined) return false;
    const bucket: OpenBucket = { ...newState(this.policy), slot: undefined, key, at, blockedUntil, scales };
    limits.forEach((limit, i) => {
      if (typeof limit === 'number') bucket.debts[i] = limit;
      else bucket.parts[i]?.restore(limit);
    });
    if (lifetime(this.policy, bucket, at) === 0) return false;
    this.create(bucket);
    return true;
  }

  /** Drops up to `max` buckets that have been full for a while; returns how many. */
  sweep(now: number, max: number): number {
    let dropped = 0;
    this.order.sweep(now, max, (slot) => {
      dropped += this.delete(slot);
    });
    return dropped;
  }

  /** When the unblocked bucket nearest to full that is not held will be full; `Infinity` if there is none. */
  nextFullAt(now: number): number {
    return this.order.nextFullAt(now);
  }

  get hasUnblocked(): boolean {
    return this.order.hasUnblocked;
  }

  /** Drops the bucket nearest to full, or if all are blocked the one whose block ends first; returns how many. */
  evict(now: number): number {
    const slot = this.order.first(now);
    if (slot === undefined) return 0;
    return this.blocked.has(slot) ? this.evictBlocked() : this.delete(slot);
  }

  /** Drops the bucket whose block ends first, or only its block if slots of it are held; returns how many buckets. */
  evictBlocked(): number {
    if (this.blocked.size === 0) return 0;
    const { first } = this.order.blocked;
    if (!this.isHeld(first)) return this.delete(first);
    this.order.update(first, 0);
    return 0;
  }

  private isHeld(slot: number): boolean {
    return this.policy.slotIndex >= 0 && heldSlots(this.holdersOf(slot)) > 0;
  }

  private holdersOf(slot: number): Holders {
    return this.states.parts?.[this.states.firstPart(slot) + this.policy.slotIndex] as Holders;
  }

  private load(slot: number, state: BucketState): void {
    this.states.load(slot, state);
    if (this.blocked.size > 0) state.blockedUntil = this.blocked.endOf(slot);
  }

  /** When the bucket in a slot will be full. */
  private fullAt(slot: number): number {
    const state = this.scratch;
    this.load(slot, state);
    return state.at + lifetime(this.policy, state, state.at);
  }
}
