import type { StatePart } from './algorithm.js';

/** What one process holds and awaits. Times are ms since 1970. */
export interface Holder {
  readonly id: number;
  /** The slots that it holds. */
  count: number;
  /** When they are free unless it reports again; `Infinity` in this process. */
  expiry: number;
  /** That of the last report. */
  sequence: number;
  /** Since when its oldest waiter waits; 0 if none does. */
  since: number;
  /** When that is no longer believed unless it tries again; 0 if none waits. */
  waitsUntil: number;
}

const NONE: readonly Holder[] = [];

/** Whether an entry means anything. */
export function isUsed({ count, since }: Holder): boolean {
  return count > 0 || since > 0;
}

/** The holders of the slots of one limit, and those that wait for one, in the order of their arrival. */
export class Holders implements StatePart {
  /** Replaced rather than modified, as other parts may share it. */
  list: readonly Holder[] = NONE;

  /** A copy of the entry of a process, or a new one. */
  findOrNew(id: number): Holder {
    const own = this.list.find((other) => other.id === id);
    return own ? { ...own } : { id, count: 0, expiry: 0, sequence: 0, since: 0, waitsUntil: 0 };
  }

  /** Puts an entry in its place, or behind the last. */
  set(own: Holder): void {
    const { list } = this;
    const place = list.findIndex(({ id }) => id === own.id);
    this.list = place < 0 ? [...list, own] : list.with(place, own);
  }

  /** Puts an entry in its place, or drops it if it means nothing. */
  put(own: Holder): void {
    if (isUsed(own)) this.set(own);
    else this.list = this.list.filter(({ id }) => id !== own.id);
  }

  assign(other: Holders): void {
    this.list = other.list;
  }

  clone(): Holders {
    const copy = new Holders();
    copy.list = this.list.map((holder) => ({ ...holder }));
    return copy;
  }

  /** Six numbers per holder. Slots in this process do not outlive it, so there are none of these. */
  entries(): number[] {
    return this.list
      .filter(({ expiry }) => expiry > 0 && expiry < Infinity)
      .flatMap(({ id, count, expiry, sequence, since, waitsUntil }) => [
        id,
        count,
        expiry,
        sequence,
        since,
        waitsUntil,
      ]);
  }

  restore(entries: readonly number[]): void {
    const list: Holder[] = [];
    for (let n = 0; n < entries.length; n += 6) {
      const [id, count, expiry, sequence, since, waitsUntil] = entries.slice(n, n + 6);
      list.push({ id, count, expiry, sequence, since, waitsUntil });
    }
    this.list = list;
  }
}
