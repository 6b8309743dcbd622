import { BoundedMap } from '../util/bounded-map.js';
import { hashOf, Snapshot } from './snapshot.js';

/** The most results of one resolver that are remembered; beyond, the oldest one is parsed again. */
const MAX_RESULTS = 1000;
/** How many of them are compared before one is looked up. */
const MAX_RECENT = 4;

interface Entry<T> {
  readonly snapshot: Snapshot;
  readonly parsed: T;
}

/**
 * Remembers what the results of one resolver were parsed to, by value: a new object with equal options in the same order
 * is not parsed again. Functions are equal only if they are identical. Results with the same strings and numbers share
 * one entry, so new functions in each result replace each other.
 */
export class ResultCache<T> {
  private readonly entries = new BoundedMap<number, Entry<T>>(MAX_RESULTS);
  private readonly recent: Entry<T>[] = [];
  /** The index in `recent` of the entry that was added last. */
  private newest = 0;

  constructor(private readonly parse: (result: object) => T) {}

  /** The number of results remembered. */
  get size(): number {
    return this.entries.size;
  }

  /** What a result means that equals one of the last few; `undefined` if it does not. */
  recall(result: unknown): T | undefined {
    const { recent } = this;
    for (let i = 0; i < recent.length; i++) if (recent[i].snapshot.equals(result)) return recent[i].parsed;
    return undefined;
  }

  /** What `result` means. Throws what parsing it throws, each time. */
  parsed(result: object): T {
    const hash = hashOf(result);
    let entry = this.entries.get(hash);
    if (!entry?.snapshot.equals(result)) {
      const snapshot = Snapshot.of(result);
      // An instance of a class may compute its options.
      if (!snapshot) return this.parse(result);
      entry = { snapshot, parsed: this.parse(snapshot.value) };
      this.entries.set(hash, entry);
    }
    this.newest = (this.newest + 1) % MAX_RECENT;
    this.recent[Math.min(this.newest, this.recent.length)] = entry;
    return entry.parsed;
  }
}
