import { later, steadyNow } from '../../util/clock.js';

/** Something with a deadline. */
export interface Due {
  due: number;
  over: boolean;
}

/**
 * Deadlines of one length, so that the first to be set is the first to pass: a queue behind one timer, however many
 * there are.
 */
export class Deadlines<T extends Due> {
  private readonly queue: T[] = [];
  private head = 0;
  private waiting = false;

  /** `pass` is told what was not ended in time. */
  constructor(
    private readonly length: number,
    private readonly pass: (late: T) => void,
  ) {}

  set(due: T): void {
    due.due = steadyNow() + this.length;
    this.queue.push(due);
    if (!this.waiting) this.wait();
  }

  /** Ends one; tells whether that was in time. */
  end(due: T): boolean {
    if (due.over) return false;
    due.over = true;
    if (this.queue[this.head] === due) this.dropOver();
    return true;
  }

  /** Forgets those at the head that are over: what is kept longer than it is needed has to be moved by the collector. */
  private dropOver(): void {
    while (this.head < this.queue.length && this.queue[this.head].over) this.head++;
    if (this.head === this.queue.length) {
      this.queue.length = 0;
      this.head = 0;
    } else if (this.head > 64) {
      this.queue.splice(0, this.head);
      this.head = 0;
    }
  }

  private wait(): void {
    if (this.queue.length === 0) return;
    this.waiting = true;
    later(Math.max(1, this.queue[this.head].due - steadyNow()), () => {
      // One more turn: an answer that has arrived meanwhile, while this process was busy, is in time.
      setImmediate(() => this.check());
    });
  }

  private check(): void {
    this.waiting = false;
    const now = steadyNow();
    for (let i = this.head; i < this.queue.length && this.queue[i].due <= now; i++) {
      const late = this.queue[i];
      if (late.over) continue;
      late.over = true;
      this.pass(late);
    }
    this.dropOver();
    this.wait();
  }
}
