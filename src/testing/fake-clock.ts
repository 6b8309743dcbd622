import { type Clock, type Sleeper, sleepIn } from '../util/clock.js';

/**
 * A clock that stands still until it is told to go on. Give it to a store, and nobody who waits needs to sleep.
 *
 * ```ts
 * const clock = new FakeClock();
 * const store = new MemoryStore({ clock });
 * await clock.advance(1000);
 * ```
 */
export class FakeClock implements Clock {
  private readonly sleepers: Sleeper[] = [];

  /** Starts at an instant that is a multiple of every usual period. */
  constructor(private time = 1_814_400_000_000) {}

  now(): number {
    return this.time;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (ms <= 0) return Promise.resolve();
    const line = {
      add: (sleeper: Sleeper) => this.add(sleeper),
      remove: (sleeper: Sleeper) => this.sleepers.splice(this.sleepers.indexOf(sleeper), 1),
    };
    return sleepIn(line, this.time + ms, signal);
  }

  /** How many sleep. */
  get sleeping(): number {
    return this.sleepers.length;
  }

  /** When the next sleeper wakes; `Infinity` if nobody sleeps. */
  get nextWake(): number {
    return this.sleepers[0]?.due ?? Infinity;
  }

  /**
   * Lets `ms` pass. Sleepers wake in the order of their instants, each while `now` is that instant, and what they
   * await runs before the next one wakes.
   */
  async advance(ms: number): Promise<void> {
    const end = this.time + ms;
    await nextTurn();
    while (this.sleepers.length > 0 && this.sleepers[0].due <= end) {
      this.time = Math.max(this.time, this.sleepers[0].due);
      this.sleepers.shift()?.wake();
      await nextTurn();
    }
    this.time = end;
  }

  /** Sets the clock, also back; wakes nobody. */
  set(time: number): void {
    this.time = time;
  }

  private add(sleeper: Sleeper): void {
    const after = this.sleepers.findIndex((other) => other.due > sleeper.due);
    this.sleepers.splice(after < 0 ? this.sleepers.length : after, 0, sleeper);
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
