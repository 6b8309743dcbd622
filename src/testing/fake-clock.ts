import { type Clock, type Sleeper, sleepIn } from '../util/clock.js';
import { DueQueue } from '../util/due-queue.js';

/**
 * A manual clock for tests: time passes only when the test advances it, so waits need no real time.
 *
 * ```ts
 * const clock = new FakeClock();
 * const store = new MemoryStore({ clock });
 * await clock.advance(1000);
 * ```
 */
export class FakeClock implements Clock {
  private readonly sleepers = new DueQueue<Sleeper>();

  /** @param time The start in milliseconds since 1970; the default is a multiple of every common period. */
  constructor(private time = 1_814_400_000_000) {}

  /** Returns the time in milliseconds since 1970. */
  now(): number {
    return this.time;
  }

  /** Resolves when the clock has advanced by `ms`; rejects with the signal's reason if the signal is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (ms <= 0) return Promise.resolve();
    return sleepIn(this.sleepers, this.time + ms, signal);
  }

  /** The number of pending sleeps. */
  get sleeping(): number {
    return this.sleepers.size;
  }

  /** When the next sleep ends, in milliseconds since 1970; `Infinity` if none is pending. */
  get nextWake(): number {
    return this.sleepers.firstDue;
  }

  /**
   * Advances the clock by `ms`. Sleeps end in the order of their due times, and `now` returns that time while they do.
   * The code that awaits a sleep runs before the next sleep ends.
   */
  async advance(ms: number): Promise<void> {
    const end = this.time + ms;
    await nextTurn();
    while (this.sleepers.firstDue <= end) {
      this.time = Math.max(this.time, this.sleepers.firstDue);
      this.sleepers.shift()?.wake();
      await nextTurn();
    }
    this.time = end;
  }

  /** Sets the clock to `time`, which may be in the past. Ends no sleep. */
  set(time: number): void {
    this.time = time;
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
