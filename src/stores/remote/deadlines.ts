import { later, steadyNow } from '../../util/clock.js';

/** Something that must end before its deadline. */
export interface Timed {
  deadline: number;
  ended: boolean;
}

/** Deadlines with the same timeout. They pass in the order in which they were set, so one timer serves them all. */
export class Deadlines<T extends Timed> {
  private readonly queue: T[] = [];
  private head = 0;
  private hasTimer = false;

  /** `onMissed` is called with each item that did not end in time. */
  constructor(
    private readonly timeout: number,
    private readonly onMissed: (item: T) => void,
  ) {}

  /** Starts the timeout of an item. */
  start(item: T): void {
    item.deadline = steadyNow() + this.timeout;
    this.queue.push(item);
    if (!this.hasTimer) this.setTimer();
  }

  /** Ends an item. Returns `false` if its deadline has been missed. */
  end(item: T): boolean {
    if (item.ended) return false;
    item.ended = true;
    if (this.queue[this.head] === item) this.dropEnded();
    return true;
  }

  /** Drops ended items at the head, not only when the timer fires: items kept longer cost garbage collection. */
  private dropEnded(): void {
    while (this.head < this.queue.length && this.queue[this.head].ended) this.head++;
    if (this.head === this.queue.length) {
      this.queue.length = 0;
      this.head = 0;
    } else if (this.head > 64) {
      this.queue.splice(0, this.head);
      this.head = 0;
    }
  }

  private setTimer(): void {
    if (this.queue.length === 0) return;
    this.hasTimer = true;
    later(Math.max(1, this.queue[this.head].deadline - steadyNow()), () => {
      // One turn later: a reply that arrived in time may not have been read yet, if this process was busy.
      setImmediate(() => this.checkMissed());
    });
  }

  private checkMissed(): void {
    this.hasTimer = false;
    const now = steadyNow();
    for (let i = this.head; i < this.queue.length && this.queue[i].deadline <= now; i++) {
      const item = this.queue[i];
      if (item.ended) continue;
      item.ended = true;
      this.onMissed(item);
    }
    this.dropEnded();
    this.setTimer();
  }
}
