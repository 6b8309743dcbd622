import type { BucketState } from '../../core/algorithms/algorithm.js';
import { toAnswer } from '../../core/answer.js';
import { advance } from '../../core/bucket-state.js';
import type { DecisionSource, StoreAnswer } from '../../core/decision.js';
import { execute } from '../../core/execute.js';
import type { Policy } from '../../core/policy.js';
import { bucketName, holderName, type StoreRequest, type Take } from '../../core/request.js';
import { hasSlots } from '../../core/slots.js';
import { brand } from '../../util/brand.js';
import { type Clock, every, systemClock } from '../../util/clock.js';
import { invalidOption } from '../../util/option-error.js';
import { VERSION } from '../../util/version.js';
import { GIVING_VERBS, RateLimitStore } from '../rate-limit.store.js';
import { Subscriptions } from '../subscriptions.js';
import type { DumpedBucket, OpenBucket } from './bucket-table.js';
import { BucketTables } from './bucket-tables.js';

/** Options of `MemoryStore`; all are optional. */
export interface MemoryStoreOptions {
  /** Default: the system clock. */
  clock?: Clock;
  /**
   * The most buckets kept at once, over all policies; default 1,000,000. At the limit, full buckets are evicted first,
   * then the one nearest to full, and blocked ones last. At most half may be blocked; beyond that, the bucket whose block
   * ends first is evicted. Buckets whose slots are held are kept, even above the limit.
   */
  maxBuckets?: number;
}

/** What `MemoryStore.dump` returns: the buckets of each policy. */
export interface MemoryDump {
  readonly version: 1;
  readonly buckets: Record<string, DumpedBucket[]>;
}

/** Milliseconds. */
const SWEEP_EVERY = 100;

/** Keeps buckets in this process, and answers synchronously. */
export class MemoryStore extends RateLimitStore {
  static {
    brand(this, 'MemoryStore', VERSION);
  }

  readonly clock: Clock;
  private readonly tables: BucketTables;
  private readonly subscriptions = new Subscriptions();
  private readonly opened: OpenBucket[] = [];
  private readonly row: number[] = [];
  private readonly stopSweep: () => void;

  constructor(options: MemoryStoreOptions = {}) {
    super();
    const { clock = systemClock, maxBuckets = 1_000_000 } = options;
    if (!Number.isInteger(maxBuckets) || maxBuckets < 1)
      invalidOption('maxBuckets', 'a positive whole number', maxBuckets);
    this.clock = clock;
    this.tables = new BucketTables(maxBuckets, () => clock.now());
    // Not started by the first request: the timer would keep its async context alive.
    this.stopSweep = every(SWEEP_EVERY, () => this.tables.sweep());
  }

  /** The number of buckets kept now. */
  get size(): number {
    return this.tables.size;
  }

  /** Buckets evicted, though not full, because `maxBuckets` was reached. */
  get evicted(): number {
    return this.tables.evicted;
  }

  override get isShared(): boolean {
    return false;
  }

  override run(request: StoreRequest, source: DecisionSource = 'store'): StoreAnswer {
    const { takes, verb, to } = request;
    if (verb === 'hold') {
      const answer = this.tables.of(takes[0].policy).holdFast(takes[0], source);
      if (answer) return answer;
    }
    const now = this.clock.now();
    if (verb === 'take' && takes.length === 1) {
      const answer = this.tables.of(takes[0].policy).takeFast(takes[0], now, source);
      if (answer) return answer;
    }
    const { opened, row, tables } = this;
    const buckets = to ? [...takes, { policy: to, key: takes[0].key }] : takes;
    for (let i = 0; i < buckets.length; i++) opened[i] = tables.of(buckets[i].policy).open(buckets[i].key, i);
    if (verb === 'estimate') for (let i = 0; i < buckets.length; i++) cloneParts(opened[i]);
    execute(request, opened, now, row);
    if (verb !== 'estimate') {
      for (let i = 0; i < buckets.length; i++) {
        if (opened[i].changed) tables.save(buckets[i].policy, opened[i], verb, now);
      }
    }
    const answer = toAnswer(takes, row, source);
    if (verb === 'hold' || (verb === 'take' && hasSlots(takes))) this.publish(takes);
    else if (GIVING_VERBS.has(verb)) for (const bucket of buckets) this.subscriptions.notify(bucketName(bucket), '');
    return answer;
  }

  /** Notifies processes that wait for slots. */
  private publish(takes: readonly Take[]): void {
    // All are read before the first listener is called: it may take slots at once, which opens other buckets.
    const messages = takes.map((_, i) => this.opened[i].messages);
    for (const [i, take] of takes.entries()) {
      for (const { holder, text } of messages[i]) this.subscriptions.notify(holderName(take, holder), text);
    }
  }

  /** @internal Brings the state of one bucket up to now, and changes it. */
  adjust(policy: Policy, key: string, change: (state: BucketState) => void): void {
    const now = this.clock.now();
    const bucket = this.tables.of(policy).open(key, 0);
    advance(policy, bucket, now);
    change(bucket);
    bucket.scales ??= policy.scales;
    this.tables.save(policy, bucket, 'charge', now);
  }

  override subscribe(policy: Policy, key: string, listener: (message: string) => void, holder?: number): () => void {
    const stop = this.subscriptions.add(bucketName({ policy, key }), listener);
    if (holder === undefined) return stop;
    const stopOwn = this.subscriptions.add(holderName({ policy, key }, holder), listener);
    return () => {
      stop();
      stopOwn();
    };
  }

  /**
   * Returns all buckets as plain data for JSON, so that a restart does not refill them. Restore them into a store with
   * the same policies, on a machine whose clock agrees.
   */
  dump(): MemoryDump {
    return { version: 1, buckets: this.tables.dump() };
  }

  /** Restores the buckets of a dump. Those of a policy are restored when it is first used. */
  restore(dump: MemoryDump): void {
    if (dump?.version !== 1) invalidOption('dump.version', '1', dump?.version);
    this.tables.restore(dump.buckets);
  }

  /** Stops the sweep. Buckets stay, so that requests in flight are still answered. */
  override close(): void {
    this.stopSweep();
  }
}

/** Replaces the parts by copies, so that changing the state does not change the table's. */
function cloneParts({ parts }: OpenBucket): void {
  for (let i = 0; i < parts.length; i++) parts[i] = parts[i]?.clone();
}
