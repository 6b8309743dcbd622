import type { Clock } from '../../../src/util/clock.js';

/** Replaces `src/util/clock.ts`: a simulation has its own clock, and browsers have no timers that can be unreferenced. */
export const systemClock: Clock = { now: () => Date.now(), sleep: () => Promise.resolve() };

/** Starts nothing: a simulation needs no timer. */
export function every(): () => void {
  return () => {};
}
