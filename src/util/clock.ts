import { type Due, DueQueue } from './due-queue.js';

/**
 * Reads the time and sleeps. Only this file reads the system clock or sets a timer; everything else receives a `Clock`,
 * so that a test can pass a fake one.
 */
export interface Clock {
  /** Returns the milliseconds since 1970, a whole number. */
  now(): number;
  /** Resolves after `ms`; rejects with the signal's reason as soon as the signal is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** Node fires longer timers (about 24.8 days) immediately; longer sleeps are split. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Calls `run` once after `ms`, without keeping the process alive. */
export function later(ms: number, run: () => void): void {
  setTimeout(run, Math.min(ms, LONGEST_TIMER)).unref();
}

/** Like `later`, but a stretch in which this process is blocked counts as a tenth of `ms` at most. */
export function laterAwake(ms: number, run: () => void): void {
  let left = 10;
  const stop = every(ms / left, () => {
    if (--left > 0) return;
    stop();
    run();
  });
}

/** Calls `run` every `ms` without keeping the process alive; returns a function that stops it. */
export function every(ms: number, run: () => void): () => void {
  const timer = setInterval(run, ms);
  timer.unref();
  return () => clearInterval(timer);
}

export interface Sleeper extends Due {
  readonly wake: () => void;
}

/**
 * Whole milliseconds that do not jump when the system clock is set; for sleeps and deadlines. They change together with
 * those of `Date.now`, so a sleep until a millisecond of one clock ends in that millisecond of the other.
 */
export const steadyNow = (): number => Math.floor(STARTED + performance.now());
const STARTED = performance.timeOrigin;

/** Milliseconds since the process started, with fractions; for measuring durations. */
export const sinceStart = (): number => performance.now();

/**
 * All sleepers of this process, ordered by wake time, behind one timer. With one timer each, a late event loop would
 * wake them in the order of their timers' durations; here none overtakes another.
 */
class SleepQueue {
  private readonly sleepers = new DueQueue<Sleeper>();
  private timer: NodeJS.Timeout | undefined;
  private timerDue = Infinity;

  add(sleeper: Sleeper): void {
    this.sleepers.add(sleeper);
    this.setTimer();
  }

  remove(sleeper: Sleeper): void {
    this.sleepers.remove(sleeper);
    this.setTimer();
  }

  private setTimer(): void {
    const due = this.sleepers.firstDue;
    if (due === this.timerDue) return;
    clearTimeout(this.timer);
    this.timerDue = due;
    this.timer =
      due === Infinity ? undefined : setTimeout(this.ring, Math.min(Math.max(due - steadyNow(), 1), LONGEST_TIMER));
  }

  private readonly ring = (): void => {
    this.timerDue = Infinity;
    for (const sleeper of this.sleepers.takeDue(steadyNow())) sleeper.wake();
    this.setTimer();
  };
}

/** Sleeps in `queue` until `due`, and leaves it when the signal is aborted. Shared by the system clock and `FakeClock`. */
export function sleepIn(
  queue: { add(sleeper: Sleeper): void; remove(sleeper: Sleeper): void },
  due: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      queue.remove(sleeper);
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
    queue.add(sleeper);
  });
}

const sleepQueue = new SleepQueue();

/** The system clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  // Never shorter than requested, and not affected by changes of the system clock.
  sleep: (ms, signal) => (ms > 0 ? sleepIn(sleepQueue, steadyNow() + ms, signal) : Promise.resolve()),
};

/** Milliseconds of a clock that do not jump when the system clock is set. */
export function steadyTimeOf(clock: Clock): number {
  return clock === systemClock ? steadyNow() : clock.now();
}

/** Sleeps like `clock.sleep`, without keeping the process alive. */
export function sleepIdly(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  if (clock !== systemClock) return clock.sleep(ms, signal);
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort);
      resolve();
    }, ms);
    timer.unref();
    signal.addEventListener('abort', abort, { once: true });
  });
}
