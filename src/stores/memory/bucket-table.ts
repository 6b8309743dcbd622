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
import type { KeptRecords } from './kept-records.js';
import { RecordMap } from './record-map.js';
import { RecordStates } from './record-states.js';

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

/** A bucket's state as `BucketTable.open` returns it; `record` is `undefined` if the bucket is not in the table. */
export interface OpenBucket extends BucketState {
  record: number | undefined;
  key: string;
}

/** A bucket that is in the table. */
type PlacedBucket = OpenBucket & { record: number };

/**
 * The buckets of all policies with one `id`: of the same name and limits, though they may block for different times. A
 * bucket is a record, found by its key. A take costs no more than the map look-up, because it leaves the eviction order
 * alone.
 */
export class BucketTable {
  private readonly records = new RecordMap();
  private readonly keys: string[] = [];
  private readonly states: RecordStates;
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
    (record) => this.fullAt(record),
    (record) => this.isHeld(record),
  );
  readonly blocked: Pick<KeptRecords, 'size' | 'has' | 'endOf' | 'firstEnd'> = this.order.blocked;
  private readonly opened: OpenBucket[] = [];
  private readonly scratch: BucketState;

  constructor(readonly policy: Policy) {
    this.states = new RecordStates(policy);
    this.scratch = newState(policy);
    this.hasFastPath = hasFastPath(policy);
    this.isSingleBucket = this.hasFastPath && policy.limits.length === 1 && !this.states.parts;
    this.isConstantBucket = this.isSingleBucket && !this.states.scales;
    this.isSingleConcurrency = policy.limits.length === 1 && policy.slotIndex === 0;
    this.lists = { limits: [...policy.limits], labels: [...policy.labels] };
  }

  get size(): number {
    return this.records.size;
  }

  /**
   * The state of a key's bucket, to be changed and passed to `write` or `create`. The object is reused: it is valid until
   * `open` is called with the same `index`. The lists of its parts are shared with the table.
   */
  open(key: string, index: number): OpenBucket {
    this.opened[index] ??= { ...newState(this.policy), record: undefined, key };
    const state = this.opened[index];
    state.record = this.records.get(key);
    state.key = key;
    if (state.record === undefined) this.states.loadFull(state);
    else this.load(state.record, state);
    return state;
  }

  /** Takes by the fast path; `undefined`, with nothing changed, if the request needs `execute`. */
  takeFast(take: Take, now: number, source: DecisionSource): StoreAnswer | undefined {
    const record = this.records.get(take.key);
    if (record === undefined || take.amount === 0 || take.mark !== undefined) return undefined;
    const { states } = this;
    if (!states.isPlain(record) || (this.blocked.size > 0 && this.blocked.has(record))) return undefined;
    const start = record * states.width;
    // With a single limit `amounts` contains only `amount`.
    if (this.isConstantBucket) return takeFromOneBucket(take, states.cells, start, now, source);
    if (this.isSingleConcurrency) return takeOneSlot(take, this.holdersOf(record), states.cells, start, now, source);
    if (!this.hasFastPath || take.amounts) return undefined;
    if (states.scales && states.scales[record] !== take.policy.scales) return undefined;
    if (this.isSingleBucket) return takeFromOneBucket(take, states.cells, start, now, source);
    // Another policy with the same id may have other limit names, or other numbers.
    const lists = take.policy === this.policy ? this.lists : take.policy;
    return takeFromLimits(take, lists, states.cells, start, states.parts, states.firstPart(record), now, source);
  }

  /** Sets the slots that a process holds by the fast path; as `takeFast`. */
  holdFast(take: Take, source: DecisionSource): StoreAnswer | undefined {
    const record = this.isSingleConcurrency ? this.records.get(take.key) : undefined;
    if (record === undefined) return undefined;
    const { states } = this;
    if (!states.isPlain(record) || (this.blocked.size > 0 && this.blocked.has(record))) return undefined;
    const answer = reportToOneLimit(take, this.holdersOf(record), states.cells, record * states.width, source);
    if (answer && take.holder?.count === 0) this.order.bringForward(record, states.timeOf(record));
    return answer;
  }

  /** Whether an opened bucket is in the table; it may have been evicted since. */
  has(bucket: OpenBucket): bucket is PlacedBucket {
    return bucket.record !== undefined && this.keys[bucket.record] === bucket.key;
  }

  /** Adds a bucket that is not in the table. */
  create(bucket: OpenBucket): void {
    const record = this.states.allocate();
    const key = detachedString(bucket.key);
    this.keys[record] = key;
    this.records.add(key, record);
    this.states.save(record, bucket);
    this.order.add(record, bucket.blockedUntil);
  }

  /**
   * Writes a bucket back; returns whether its place in the eviction order is still right. It is not if the bucket is or was
   * blocked, or if its clock was set back, which may bring its end nearer.
   */
  write(bucket: PlacedBucket): boolean {
    const { record, at, blockedUntil } = bucket;
    const isSetBack = at < this.states.timeOf(record);
    this.states.save(record, bucket);
    return !isSetBack && blockedUntil === 0 && !this.blocked.has(record);
  }

  /** Puts a bucket in its right place in the eviction order after it was written. */
  reorder({ record, blockedUntil }: PlacedBucket): void {
    this.order.update(record, blockedUntil);
  }

  /** Drops a bucket; returns 1, the number dropped. */
  delete(record: number): number {
    this.order.delete(record);
    this.records.delete(this.keys[record]);
    this.keys[record] = '';
    this.states.release(record);
    return 1;
  }

  /** All buckets as plain data. */
  dump(): DumpedBucket[] {
    return [...this.records.entries()].map(([key, record]) => {
      this.load(record, this.scratch);
      const { at, blockedUntil, debts, parts, scales } = this.scratch;
      const limits = debts.map((debt, i) => parts[i]?.entries() ?? debt);
      return scales ? [key, at, blockedUntil, limits, scales] : [key, at, blockedUntil, limits];
    });
  }

  /** Adds a dumped bucket unless it is full or its key already has a bucket; returns whether it was added. */
  restore([key, at, blockedUntil, limits, scales]: DumpedBucket): boolean {
    if (this.records.get(key) !== undefined) return false;
    const bucket: OpenBucket = { ...newState(this.policy), record: undefined, key, at, blockedUntil, scales };
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
    this.order.sweep(now, max, (record) => {
      dropped += this.delete(record);
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
    const record = this.order.first(now);
    if (record === undefined) return 0;
    return this.blocked.has(record) ? this.evictBlocked() : this.delete(record);
  }

  /** Drops the bucket whose block ends first, or only its block if slots of it are held; returns how many buckets. */
  evictBlocked(): number {
    if (this.blocked.size === 0) return 0;
    const { first } = this.order.blocked;
    if (!this.isHeld(first)) return this.delete(first);
    this.order.update(first, 0);
    return 0;
  }

  private isHeld(record: number): boolean {
    return this.policy.slotIndex >= 0 && heldSlots(this.holdersOf(record)) > 0;
  }

  private holdersOf(record: number): Holders {
    return this.states.parts?.[this.states.firstPart(record) + this.policy.slotIndex] as Holders;
  }

  private load(record: number, state: BucketState): void {
    this.states.load(record, state);
    if (this.blocked.size > 0) state.blockedUntil = this.blocked.endOf(record);
  }

  /** When the bucket in a record will be full. */
  private fullAt(record: number): number {
    const state = this.scratch;
    this.load(record, state);
    return state.at + lifetime(this.policy, state, state.at);
  }
}
