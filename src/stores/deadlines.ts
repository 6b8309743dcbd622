import { later, steadyNow } from '../core/clock.js';

export interface Deadline {
  readonly due: number;
  readonly pass: () => void;
  over: boolean;
}

/**
 * Deadlines of one length, so that the first to be set is the first to pass: a queue behind one timer, however many
 * there are.
 */
export class Deadlines {
  private readonly queue: Deadline[] = [];
  private head = 0;
  private waiting = false;

  constructor(private readonly length: number) {}

  set(pass: () => void): Deadline {
    const deadline = { due: steadyNow() + this.length, pass, over: false };
    this.queue.push(deadline);
    if (!this.waiting) this.wait();
    return deadline;
  }

  /** Ends one; tells whether that was in time. */
  end(deadline: Deadline): boolean {
    if (deadline.over) return false;
    deadline.over = true;
    if (this.queue[this.head] === deadline) this.dropOver();
    return true;
  }

  /** Forgets those at the head that are over, so that no more are kept than wait. */
  private dropOver(): void {
    while (this.head < this.queue.length && this.queue[this.head].over) this.head++;
    if (this.head === this.queue.length) {
      this.queue.length = 0;
      this.head = 0;
    } else if (this.head > 1024) {
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
      const deadline = this.queue[i];
      if (deadline.over) continue;
      deadline.over = true;
      deadline.pass();
    }
    this.dropOver();
    this.wait();
  }
}
