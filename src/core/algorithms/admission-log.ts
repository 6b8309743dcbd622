import type { StatePart } from './algorithm.js';

/** The admissions of one window: time and amount of each that still counts, and their sum. */
export class AdmissionLog implements StatePart {
  /** Time, amount, time, amount, …, the oldest first. */
  list: number[] = [];
  /** Index in `list` of the first admission that still counts. */
  head = 0;
  /** Sum of the amounts that still count. */
  sum = 0;

  /** Copies `other`, but shares its list. */
  assign(other: AdmissionLog): void {
    this.list = other.list;
    this.head = other.head;
    this.sum = other.sum;
  }

  /** The admissions that still count, as time, amount, time, amount, … */
  entries(): number[] {
    return this.list.slice(this.head);
  }

  /** Restores what `entries` returned into a new log. */
  restore(entries: readonly number[]): void {
    this.list = [...entries];
    for (let i = 1; i < entries.length; i += 2) this.sum += entries[i];
  }

  /** Time of the newest admission; 0 if none counts. */
  get newest(): number {
    return this.sum > 0 ? this.list[this.list.length - 2] : 0;
  }

  /** A copy with a list of its own. */
  clone(): AdmissionLog {
    const copy = new AdmissionLog();
    copy.list = this.entries();
    copy.sum = this.sum;
    return copy;
  }
}
