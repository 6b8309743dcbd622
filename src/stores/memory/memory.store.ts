import { toAnswer } from '../../core/answer.js';
import { lifetime } from '../../core/bucket-state.js';
import type { DecisionSource, StoreAnswer } from '../../core/decision.js';
import { execute } from '../../core/execute.js';
import type { Policy } from '../../core/policy.js';
import { bucketName, type StoreRequest, type Verb } from '../../core/request.js';
import { type Clock, every, systemClock } from '../../util/clock.js';
import { invalidOption } from '../../util/option-error.js';
import { GIVING_VERBS, RateLimitStore } from '../rate-limit.store.js';
import { Subscriptions } from '../subscriptions.js';
import { BucketTable, type DumpedBucket, type OpenBucket } from './bucket-table.js';

/** Options of `MemoryStore`; all are optional. */
export interface MemoryStoreOptions {
  /** Default: the system clock. */
  clock?: Clock;
  /**
   * The most buckets kept at once, over all policies; default 1,000,000. Beyond it, full buckets are evicted first, then
   * the one nearest to full, and blocked ones last. At most half of them may be blocked: beyond it, the block that ends
   * first is evicted.
   */
  maxBuckets?: number;
}

/** What `MemoryStore.dump` returns: the buckets of each policy. */
export interface MemoryDump {
  readonly version: 1;
  readonly buckets: Record<string, DumpedBucket[]>;
}

const SWEEP_EVERY = 100;
/** Buckets per sweep: few enough not to delay requests, even before the code is compiled. */
const SWEEP_SLICE = 250;

/** Keeps buckets in this process, and answers synchronously. */
export class MemoryStore extends RateLimitStore {
  readonly clock: Clock;
  /** Buckets evicted, though not full, because `maxBuckets` was reached. */
  evicted = 0;

  private readonly maxBuckets: number;
  private readonly tables = new Map<string, BucketTable>();
  /** The table used last, which is probably used next. */
  private last: BucketTable | undefined;
  private readonly subscriptions = new Subscriptions();
  private readonly opened: OpenBucket[] = [];
  private readonly row: number[] = [];
  private count = 0;
  /** Restored buckets whose policy has not been used yet. */
  private dumped: MemoryDump['buckets'] = {};
  private readonly stopSweep: () => void;

  constructor(options: MemoryStoreOptions = {}) {
    super();
    const { clock = systemClock, maxBuckets = 1_000_000 } = options;
    if (!Number.isInteger(maxBuckets) || maxBuckets < 1)
      invalidOption('maxBuckets', 'a positive whole number', maxBuckets);
    this.clock = clock;
    this.maxBuckets = maxBuckets;
    // Not started by the first request: the timer would keep its async context alive.
    this.stopSweep = every(SWEEP_EVERY, () => this.sweep());
  }

  /** The number of buckets kept now. */
  get size(): number {
    return this.count;
  }

  override run(request: StoreRequest, source: DecisionSource = 'store'): StoreAnswer {
    const { takes, verb, to } = request;
    const now = this.clock.now();
    if (verb === 'take' && takes.length === 1) {
      const answer = this.tableOf(takes[0].policy).takeNow(takes[0], now, source);
      if (answer) return answer;
    }
    const { opened, row } = this;
    let count = 0;
    for (; count < takes.length; count++) opened[count] = this.open(takes[count].policy, takes[count].key, count);
    if (to) opened[count] = this.open(to, takes[0].key, count++);
    if (verb === 'estimate') {
      for (let i = 0; i < count; i++) cloneParts(opened[i]);
      execute(request, opened, now, row);
    } else {
      execute(request, opened, now, row);
      for (let i = 0; i < count; i++) {
        if (opened[i].changed) this.save(i < takes.length ? takes[i].policy : (to as Policy), opened[i], verb, now);
      }
    }
    const answer = toAnswer(takes, row, source);
    if (GIVING_VERBS.has(verb)) {
      for (const take of takes) this.subscriptions.notify(bucketName(take));
      if (to) this.subscriptions.notify(bucketName({ policy: to, key: takes[0].key }));
    }
    return answer;
  }

  override subscribe(policy: Policy, key: string, listener: () => void): () => void {
    return this.subscriptions.add(bucketName({ policy, key }), listener);
  }

  /**
   * Returns all buckets as plain data for JSON, so that a restart does not refill them. Restore them into a store with
   * the same policies, on a machine whose clock agrees.
   */
  dump(): MemoryDump {
    const buckets: MemoryDump['buckets'] = { ...this.dumped };
    for (const [id, table] of this.tables) buckets[id] = table.dump();
    return { version: 1, buckets };
  }

  /** Restores the buckets of a dump. Those of a policy are restored when it is first used. */
  restore(dump: MemoryDump): void {
    if (dump?.version !== 1) invalidOption('dump.version', '1', dump?.version);
    this.dumped = { ...dump.buckets };
    for (const table of this.tables.values()) this.refill(table);
  }

  /** Stops the sweep. Buckets stay, so that requests in flight are still answered. */
  override close(): void {
    this.stopSweep();
  }

  private open(policy: Policy, key: string, box: number): OpenBucket {
    return this.tableOf(policy).open(key, box);
  }

  private tableOf(policy: Policy): BucketTable {
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

  /** Restores the dumped buckets of a policy into its table. */
  private refill(table: BucketTable): void {
    const { id } = table.policy;
    if (!Object.hasOwn(this.dumped, id)) return;
    const now = this.clock.now();
    for (const bucket of this.dumped[id]) {
      if (this.count >= this.maxBuckets) this.makeRoom(now);
      if (table.restore(bucket)) this.count++;
      this.limitBlocked();
    }
    delete this.dumped[id];
  }

  private save(policy: Policy, bucket: OpenBucket, verb: Verb, now: number): void {
    const table = this.tableOf(policy);
    if (table.has(bucket)) {
      const inPlace = table.write(bucket);
      // A take only postpones the end of a bucket; the table checks again when the old end comes.
      if (verb !== 'take' || !inPlace) {
        if (lifetime(policy, bucket, bucket.at) === 0) this.count -= table.delete(bucket.slot);
        else table.reorder(bucket);
        if (bucket.blockedUntil > 0) this.limitBlocked();
      }
    } else if (lifetime(policy, bucket, bucket.at) > 0) {
      this.count -= table.sweep(now, 2);
      if (this.count >= this.maxBuckets) this.makeRoom(now);
      table.create(bucket);
      this.count++;
      if (bucket.blockedUntil > 0) this.limitBlocked();
    }
  }

  /** Keeps at most half of the buckets blocked, otherwise a flood of blocked keys would displace all others. */
  private limitBlocked(): void {
    let blocked = 0;
    let first: BucketTable | undefined;
    for (const table of this.tables.values()) {
      blocked += table.blocked.size;
      if (table.blocked.firstEnd < (first?.blocked.firstEnd ?? Infinity)) first = table;
    }
    if (!first || blocked <= Math.max(1, this.maxBuckets / 2)) return;
    this.count -= first.evictBlocked();
    this.evicted++;
  }

  /** Evicts one bucket: a full one if there is one, else the one nearest to full, a blocked one last. */
  private makeRoom(now: number): void {
    let nearest: BucketTable | undefined;
    let due = Infinity;
    let blockedOnly: BucketTable | undefined;
    for (const table of this.tables.values()) {
      const tableDue = table.nearest();
      if (tableDue < due || (nearest === undefined && table.hasUnblocked)) {
        nearest = table;
        due = tableDue;
      } else if (table.size > 0) {
        blockedOnly ??= table;
      }
    }
    if (due > now) this.evicted++;
    this.count -= (nearest ?? blockedOnly)?.evict() ?? 0;
  }

  /** Drops full buckets, a slice at a time. */
  private sweep(): void {
    const now = this.clock.now();
    for (const [id, table] of this.tables) {
      this.count -= table.sweep(now, SWEEP_SLICE);
      if (table.size > 0) continue;
      this.tables.delete(id);
      if (table === this.last) this.last = undefined;
    }
  }
}

/** Replaces the parts by copies, so that changing the state does not change the table's. */
function cloneParts({ parts }: OpenBucket): void {
  for (let i = 0; i < parts.length; i++) parts[i] = parts[i]?.clone();
}
