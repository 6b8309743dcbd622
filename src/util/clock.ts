/**
 * Tells the time and lets time pass. The only place of this library that reads the machine's clock or sets a timer;
 * everything else is given a `Clock`, so that a test can pass a fake one.
 */
export interface Clock {
  /** Milliseconds since 1970, a whole number. */
  now(): number;
  /** Resolves after `ms`; rejects with the signal's reason as soon as the signal is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** Longer timers than this (about 24.8 days) fire at once in Node; a longer sleep is slept in pieces. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Calls `run` once after `ms`, without keeping the process alive. */
export function later(ms: number, run: () => void): void {
  setTimeout(run, Math.min(ms, LONGEST_TIMER)).unref();
}

/** Calls `run` each `ms` without keeping the process alive; returns the way to stop it. */
export function every(ms: number, run: () => void): () => void {
  const timer = setInterval(run, ms);
  timer.unref();
  return () => clearInterval(timer);
}

export interface Sleeper {
  readonly due: number;
  readonly wake: () => void;
}

/**
 * Whole milliseconds that go on evenly when the machine's clock is set. They turn when those of `Date.now` do, so that
 * who waits until a millisecond of the one wakes in that of the other. For sleeping and deadlines.
 */
export const steadyNow = (): number => Math.floor(STARTED + performance.now());
const STARTED = performance.timeOrigin;

/** Milliseconds since the process started, with fractions. For telling how long something took. */
export const steady = (): number => performance.now();

/**
 * All who sleep in this process, in the order of their waking, behind one timer. One timer each would wake them in the
 * order of their timers' lengths when the event loop is late; here nobody overtakes.
 */
class SleepLine {
  private readonly sleepers: Sleeper[] = [];
  private timer: NodeJS.Timeout | undefined;
  private timerDue = Infinity;

  add(sleeper: Sleeper): void {
    let low = 0;
    let high = this.sleepers.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.sleepers[middle].due <= sleeper.due) low = middle + 1;
      else high = middle;
    }
    this.sleepers.splice(low, 0, sleeper);
    this.setTimer();
  }

  remove(sleeper: Sleeper): void {
    const index = this.sleepers.indexOf(sleeper);
    if (index >= 0) this.sleepers.splice(index, 1);
    this.setTimer();
  }

  private setTimer(): void {
    const due = this.sleepers.length > 0 ? this.sleepers[0].due : Infinity;
    if (due === this.timerDue) return;
    clearTimeout(this.timer);
    this.timerDue = due;
    this.timer =
      due === Infinity ? undefined : setTimeout(this.ring, Math.min(Math.max(due - steadyNow(), 1), LONGEST_TIMER));
  }

  private readonly ring = (): void => {
    this.timerDue = Infinity;
    const now = steadyNow();
    let count = 0;
    while (count < this.sleepers.length && this.sleepers[count].due <= now) count++;
    for (const sleeper of this.sleepers.splice(0, count)) sleeper.wake();
    this.setTimer();
  };
}

/** Sleeps in `line`, and leaves it when the signal is aborted. Shared by the system clock and the fake one. */
export function sleepIn(
  line: { add(sleeper: Sleeper): void; remove(sleeper: Sleeper): void },
  due: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      line.remove(sleeper);
      reject(signal?.reason);
    };
    const sleeper = {
      due,
      wake: () => {
        signal?.removeEventListener('abort', abort);
        resolve();
      },
    };
    signal?.addEventListener('abort', abort, { once: true });
    line.add(sleeper);
  });
}

const line = new SleepLine();

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  // Never shorter than asked for, and no longer because the clock was set meanwhile.
  sleep: (ms, signal) => (ms > 0 ? sleepIn(line, steadyNow() + ms, signal) : Promise.resolve()),
};
