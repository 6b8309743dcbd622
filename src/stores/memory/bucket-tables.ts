import { lifetime } from '../../core/bucket-state.js';
import type { Policy } from '../../core/policy.js';
import type { Verb } from '../../core/request.js';
import { BucketTable, type DumpedBucket, type OpenBucket } from './bucket-table.js';

/** Dumped buckets by the `id` of their policy. */
type DumpedTables = Record<string, DumpedBucket[]>;

/** Buckets per sweep: few enough not to delay requests, even before the code is compiled. */
const SWEEP_SLICE = 250;

/** The tables of all policies, which together hold at most `max` buckets. */
export class BucketTables {
  /** The number of buckets. */
  size = 0;
  /** Buckets evicted though not full. */
  evicted = 0;
  private readonly tables = new Map<string, BucketTable>();
  /** The table used last, which is probably used next. */
  private last: BucketTable | undefined;
  /** Restored buckets whose policy has not been used yet. */
  private dumped: DumpedTables = {};

  constructor(
    private readonly max: number,
    private readonly now: () => number,
  ) {}

  /** The table of a policy. */
  of(policy: Policy): BucketTable {
    if (this.last?.policy === policy) return this.last;
    let table = this.tables.get(policy.id);
    if (!table) {
      table = new BucketTable(policy);
      this.tables.set(policy.id, table);
      this.refill(table);
    }
    this.last = table;
    return table;
  }

  /** Saves a bucket that `verb` changed. */
  save(policy: Policy, bucket: OpenBucket, verb: Verb, now: number): void {
    const table = this.of(policy);
    if (table.has(bucket)) {
      const isInOrder = table.write(bucket);
      // A take of tokens only postpones the end of a bucket; the table checks again when the old end comes.
      if (verb === 'take' && isInOrder && policy.slotIndex < 0) return;
      if (lifetime(policy, bucket, bucket.at) > 0) table.reorder(bucket);
      else this.size -= table.delete(bucket.record);
    } else {
      if (lifetime(policy, bucket, bucket.at) === 0) return;
      this.size -= table.sweep(now, 2);
      if (this.size >= this.max) this.evict(now);
      table.create(bucket);
      this.size++;
    }
    if (bucket.blockedUntil > 0) this.limitBlocked();
  }

  /** Drops full buckets, a slice at a time. */
  sweep(): void {
    const now = this.now();
    for (const [id, table] of this.tables) {
      this.size -= table.sweep(now, SWEEP_SLICE);
      if (table.size > 0) continue;
      this.tables.delete(id);
      if (table === this.last) this.last = undefined;
    }
  }

  /** All buckets as plain data. */
  dump(): DumpedTables {
    const dumped = { ...this.dumped };
    for (const [id, table] of this.tables) dumped[id] = table.dump();
    return dumped;
  }

  /** Restores the buckets of a dump: those of a policy when it is first used. */
  restore(dumped: DumpedTables): void {
    this.dumped = { ...dumped };
    for (const table of this.tables.values()) this.refill(table);
  }

  /** Restores the dumped buckets of a policy into its table. */
  private refill(table: BucketTable): void {
    const { id } = table.policy;
    if (!Object.hasOwn(this.dumped, id)) return;
    const now = this.now();
    for (const bucket of this.dumped[id]) {
      if (this.size >= this.max) this.evict(now);
      if (!table.restore(bucket)) continue;
      this.size++;
      const [, , blockedUntil] = bucket;
      if (blockedUntil > 0) this.limitBlocked();
    }
    delete this.dumped[id];
  }

  /** Keeps at most half of the buckets blocked, otherwise a flood of blocked keys would displace all others. */
  private limitBlocked(): void {
    let blocked = 0;
    let first: BucketTable | undefined;
    for (const table of this.tables.values()) {
      blocked += table.blocked.size;
      if (table.blocked.firstEnd < (first?.blocked.firstEnd ?? Infinity)) first = table;
    }
    if (!first || blocked <= Math.max(1, this.max / 2)) return;
    this.size -= first.evictBlocked();
    this.evicted++;
  }

  /** Evicts one bucket: a full one if there is one, else the one nearest to full, a blocked one last, never a held one. */
  private evict(now: number): void {
    let nearest: BucketTable | undefined;
    let nearestFullAt = Infinity;
    let blockedOnly: BucketTable | undefined;
    for (const table of this.tables.values()) {
      const fullAt = table.nextFullAt(now);
      if (fullAt < nearestFullAt || (nearest === undefined && table.hasUnblocked)) {
        nearest = table;
        nearestFullAt = fullAt;
      } else if (table.blocked.size > 0) {
        blockedOnly ??= table;
      }
    }
    const dropped = (nearest ?? blockedOnly)?.evict(now) ?? 0;
    if (nearestFullAt > now) this.evicted += dropped;
    this.size -= dropped;
  }
}
