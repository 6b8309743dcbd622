import { later, steadyNow } from '../../util/clock.js';
import { atTurnEnd } from '../../util/turn-end.js';

/** Something that must end before its deadline. */
export interface Timed {
  /** When it started, unless `sent` says that its timeout started later. */
  since: number;
  readonly sent: { readonly at: number } | undefined;
  ended: boolean;
  /** The item that was started next. */
  next: this | undefined;
}

/**
 * Deadlines with the same timeout, behind one timer. A deadline that passes while this process is busy is not missed:
 * replies that have arrived by then are read first.
 */
export class Deadlines<T extends Timed> {
  /** The first and the last item of a list that is roughly in the order of the deadlines. */
  private head: T | undefined;
  private tail: T | undefined;
  private hasTimer = false;
  /** When this process was last found to be late by half of the timeout. */
  private lastLag = -Infinity;

  /**
   * `onMissed` is called with each item that did not end in time, and whether this process was late by less than half of
   * the timeout since it started.
   */
  constructor(
    private readonly timeout: number,
    private readonly onMissed: (item: T, punctual: boolean) => void,
  ) {}

  /** Starts the timeout of an item. */
  start(item: T): void {
    item.since = steadyNow();
    if (this.tail) this.tail.next = item;
    else this.head = item;
    this.tail = item;
    if (!this.hasTimer) this.setTimer(item, item.since);
  }

  /** Ends an item. Returns `false` if its deadline has been missed. */
  end(item: T): boolean {
    if (item.ended) return false;
    item.ended = true;
    if (this.head === item) this.dropEnded();
    return true;
  }

  /** Drops ended items at the head, not only when the timer fires: items kept longer cost garbage collection. */
  private dropEnded(): void {
    while (this.head?.ended) {
      const { next } = this.head;
      // Otherwise garbage of the old generation would keep the items behind it.
      this.head.next = undefined;
      this.head = next;
    }
    if (!this.head) this.tail = undefined;
  }

  /** Fires at the next deadline, and four times per timeout to notice if this process is late. */
  private setTimer(first: T, now: number): void {
    this.hasTimer = true;
    const due = now + Math.max(1, Math.min(this.timeout / 4, startOf(first) + this.timeout - now));
    later(due - now, () => {
      const fired = steadyNow();
      if (fired - due >= this.timeout / 2) this.lastLag = fired;
      // By then, the replies that have arrived until now are read.
      atTurnEnd(() => this.checkMissed(fired));
    });
  }

  /** Ends the items whose deadline had passed at `now`. */
  private checkMissed(now: number): void {
    for (let item = this.head; item; item = item.next) {
      const start = startOf(item);
      if (item.ended || start + this.timeout > now) continue;
      item.ended = true;
      this.onMissed(item, this.lastLag < start);
    }
    this.dropEnded();
    this.hasTimer = false;
    if (this.head) this.setTimer(this.head, steadyNow());
  }
}

function startOf({ sent, since }: Timed): number {
  return sent ? sent.at : since;
}
