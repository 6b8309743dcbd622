import { NEVER, ROW_HEAD, ROW_LIMIT, type Row, singleAnswer } from '../../core/answer.js';
import { type BucketState, lifetime, newState } from '../../core/bucket-state.js';
import type { DecisionSource, StoreAnswer } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import type { Take } from '../../core/request.js';
import { AdmissionLog, admit, expire, windowMore, windowReset, windowWait } from '../../core/sliding-window.js';
import { bucketMore, bucketWait, debtAt, timeFor } from '../../core/token-bucket.js';
import { AMOUNT_PER_TOKEN } from '../../core/tokens.js';
import { DueHeap } from './due-heap.js';
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
 * The buckets of one policy, and of all of its name and numbers: they may block for different times. A bucket is a slot in a flat array of numbers (its clock and a debt per limit), found by
 * its key; windows keep their logs beside it, and the few that are blocked are listed apart.
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
  private readonly logs: (AdmissionLog | undefined)[][] = [];
  /** Whether the policy is one greedy bucket and nothing else. */
  readonly simple: boolean;
  private readonly windowed: boolean;
  private readonly blocked = new Map<number, number>();
  private readonly blockEnds = new DueHeap();
  /** When the line in front of a bucket ends; of those only at which somebody has waited. */
  private readonly lineEnds = new Map<number, number>();
  private readonly heap = new DueHeap();
  private readonly boxes: OpenBucket[] = [];
  private readonly seen: AdmissionLog[];
  private readonly debts: Float64Array;
  private readonly waits: Float64Array;
  private readonly scratch: BucketState;

  constructor(readonly policy: Policy) {
    this.width = 1 + policy.limits.length;
    this.cells = new Float64Array(16 * this.width);
    this.windowed = policy.limits.some((limit) => limit.kind === 'window');
    const [{ kind, refill, period }] = policy.limits;
    this.simple = policy.limits.length === 1 && kind === 'bucket' && refill > 0 && period === 1;
    this.scratch = newState(policy);
    this.seen = policy.limits.map(() => new AdmissionLog());
    this.debts = new Float64Array(policy.limits.length);
    this.waits = new Float64Array(policy.limits.length);
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

  /**
   * The same as `quickTake` for a policy of one greedy bucket, which is most of them. What token-bucket.ts has functions
   * for is written out here.
   */
  takeOne({ policy, key, amount, maxWait }: Take, now: number, source: DecisionSource): StoreAnswer | undefined {
    const slot = this.slots.get(key);
    if (slot === undefined || this.blocked.size > 0) return undefined;
    const { cells } = this;
    const { capacity, refill, weight } = policy.limits[0];
    const at = cells[2 * slot];
    if (at > now) return undefined;
    const owed = cells[2 * slot + 1] - (now - at) * refill;
    const held = owed > 0 ? owed : 0;
    const units = amount * weight;
    const allowed = held + units <= capacity;
    if (!allowed && (policy.block > 0 || maxWait > 0 || units > capacity || held > capacity)) return undefined;
    const debt = allowed ? held + units : held;
    if (allowed) {
      cells[2 * slot] = now;
      cells[2 * slot + 1] = debt;
    }
    const token = AMOUNT_PER_TOKEN * weight;
    const tokens = (capacity - debt) / token;
    const toNext = (Math.floor(tokens) + 1) * token - (capacity - debt);
    const more = Math.ceil((toNext < debt ? toNext : debt) / refill);
    const retry = allowed ? 0 : Math.ceil((debt + units - capacity) / refill);
    return singleAnswer(policy, allowed, tokens, retry, Math.ceil(debt / refill), more, allowed ? amount : 0, source);
  }

  /**
   * `execute` for what nearly every request is: a take from one kept bucket that is not blocked, at once or not at all.
   * The same law without the generality; writes the row, and returns `false` where it is not that simple.
   */
  quickTake({ policy, key, amount, maxWait }: Take, now: number, row: Row): boolean {
    const slot = this.slots.get(key);
    if (slot === undefined || this.blocked.size > 0) return false;
    const { limits, block } = policy;
    const { cells } = this;
    const start = slot * this.width;
    const at = cells[start];
    if (at > now) return false;
    let wait = 0;
    for (let i = 0; i < limits.length; i++) {
      const limit = limits[i];
      let own: number;
      if (limit.kind === 'bucket') {
        const debt = debtAt(limit, cells[start + 1 + i], at, now);
        this.debts[i] = debt;
        own = bucketWait(limit, debt, amount * limit.weight, now);
      } else {
        // A copy of the log's head: a refusal must leave the log as it is.
        const log = this.seen[i];
        log.assign(this.logs[slot][i] as AdmissionLog);
        expire(limit, log, now);
        own = windowWait(limit, log, amount, now);
      }
      this.waits[i] = own;
      if (own > wait) wait = own;
    }
    const allowed = wait === 0;
    if (!allowed && (block > 0 || (wait <= maxWait && wait !== Infinity))) return false;
    row[0] = allowed ? 1 : 0;
    row[1] = 0;
    row[2] = allowed ? amount : 0;
    row[3] = now;
    row[4] = wait === Infinity ? NEVER : wait;
    if (allowed) cells[start] = now;
    let index = ROW_HEAD + 1;
    for (let i = 0; i < limits.length; i++) {
      const limit = limits[i];
      const own = this.waits[i];
      row[index + 1] = own === Infinity ? NEVER : own;
      if (limit.kind === 'bucket') {
        let debt = this.debts[i];
        if (allowed) {
          debt += amount * limit.weight;
          cells[start + 1 + i] = debt;
        }
        const reset = timeFor(limit, debt, now);
        row[index] = limit.capacity - debt;
        row[index + 2] = reset === Infinity ? NEVER : reset;
        row[index + 3] = reset === Infinity ? NEVER : bucketMore(limit, debt, now);
      } else {
        const log = this.seen[i];
        if (allowed) {
          admit(limit, log, amount, now);
          (this.logs[slot][i] as AdmissionLog).assign(log);
        }
        row[index] = limit.capacity - log.sum;
        row[index + 2] = windowReset(limit, log, now);
        row[index + 3] = windowMore(limit, log, now);
      }
      index += ROW_LIMIT;
    }
    return true;
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
      this.logs[slot] ??= [];
      for (let i = 0; i < logs.length; i++) copyLog(logs[i], this.logs[slot], i);
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
    if (this.windowed) this.logs[slot] = [];
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
    if (this.windowed) for (let i = 0; i < logs.length; i++) copyLog(this.logs[slot][i], logs, i);
    if (this.blocked.size > 0) state.blockedUntil = this.blocked.get(slot) ?? 0;
    if (this.lineEnds.size > 0) state.lineEnd = this.lineEnds.get(slot) ?? 0;
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

/** Makes `logs[i]` the same as `from`, in a log of its own: passing over old entries in one does not reach the other. */
function copyLog(from: AdmissionLog | undefined, logs: (AdmissionLog | undefined)[], i: number): void {
  if (!from) {
    logs[i] = undefined;
    return;
  }
  logs[i] ??= new AdmissionLog();
  logs[i].assign(from);
}
