import {
  AdmissionLog,
  admit,
  cancelAdmission,
  expire,
  takeBack,
  windowMore,
  windowReset,
  windowWait,
} from './algorithms/sliding-window.js';
import { bucketCancel, bucketMore, bucketTake, bucketWait, debtAt, timeFor } from './algorithms/token-bucket.js';
import type { Limit } from './limit.js';
import type { Policy } from './policy.js';

/**
 * The state of one policy for one key: for each limit a debt (token bucket) or a log (window), told at the instant
 * `at`. A new one is full; a store may drop one that is full and not blocked, and may keep it as it likes.
 */
export interface BucketState {
  /** The bucket's own clock, ms: when the rest was true. */
  at: number;
  /** Everything is refused until this instant; 0 for not blocked. */
  blockedUntil: number;
  /** When the last who waits in line goes on; 0 if nobody waits. */
  lineEnd: number;
  readonly debts: number[];
  readonly logs: (AdmissionLog | undefined)[];
  /** Set by what changes the state; what only looks leaves it. */
  changed: boolean;
}

/** A full bucket that nobody has asked for yet. */
export function newState(policy: Policy): BucketState {
  return {
    at: 0,
    blockedUntil: 0,
    lineEnd: 0,
    debts: policy.limits.map(() => 0),
    logs: policy.limits.map((limit) => (limit.kind === 'window' ? new AdmissionLog() : undefined)),
    changed: false,
  };
}

/** As good as new. */
export function forget(state: BucketState): void {
  state.blockedUntil = 0;
  state.lineEnd = 0;
  for (let i = 0; i < state.debts.length; i++) {
    state.debts[i] = 0;
    if (state.logs[i]) state.logs[i] = new AdmissionLog();
  }
}

/**
 * Brings the state up to `now`. A bucket's clock never runs backwards: if the machine's clock stepped back, time
 * stands still for the bucket until it is reached again, but no longer than the bucket needs to fill (or its block
 * lasts): a state from further ahead is no state. So a step of any size locks a key for one fill time at most.
 */
export function advance(policy: Policy, state: BucketState, now: number): void {
  const ahead = state.at - now;
  if (ahead > 0) {
    if (ahead <= Math.max(policy.fillTime, state.blockedUntil - state.at)) return;
    forget(state);
  }
  const { limits } = policy;
  for (let i = 0; i < limits.length; i++) {
    const log = state.logs[i];
    if (log) expire(limits[i], log, now);
    else state.debts[i] = debtAt(limits[i], state.debts[i], state.at, now);
  }
  state.at = now;
  if (state.blockedUntil <= now) state.blockedUntil = 0;
  if (state.lineEnd <= now) state.lineEnd = 0;
}

/** How long limit `i` lets `amount` wait, from `state.at` on. */
export function waitOf(limit: Limit, state: BucketState, i: number, amount: number): number {
  const log = state.logs[i];
  return log
    ? windowWait(limit, log, amount, state.at)
    : bucketWait(limit, state.debts[i], amount * limit.weight, state.at);
}

/** Takes `amount` from every limit, to be used after `wait` ms (the longest of all limits' own waits). */
export function take(policy: Policy, state: BucketState, amount: number, wait: number): void {
  const { limits } = policy;
  for (let i = 0; i < limits.length; i++) {
    const limit = limits[i];
    const log = state.logs[i];
    if (log) {
      admit(limit, log, amount, state.at + wait);
    } else {
      const units = amount * limit.weight;
      const own = wait === 0 ? 0 : bucketWait(limit, state.debts[i], units, state.at);
      state.debts[i] = bucketTake(limit, state.debts[i], units, state.at, own, wait);
    }
  }
  if (wait > 0) state.lineEnd = Math.max(state.lineEnd, state.at + wait);
  state.changed = true;
}

/** Gives `amount` back to every limit, never above full. */
export function give(policy: Policy, state: BucketState, amount: number): void {
  policy.limits.forEach((limit, i) => {
    const log = state.logs[i];
    if (log) takeBack(limit, log, amount, state.at);
    else state.debts[i] = Math.max(0, state.debts[i] - amount * limit.weight);
  });
  state.changed = true;
}

/** Cancels a reservation that was to act at `actAt`; one that has acted stays, and one of a bucket before is gone. */
export function cancel(policy: Policy, state: BucketState, amount: number, actAt: number): void {
  if (actAt <= state.at || actAt > state.lineEnd) return;
  policy.limits.forEach((limit, i) => {
    const log = state.logs[i];
    if (log) cancelAdmission(limit, log, amount, actAt);
    else {
      const units = amount * limit.weight;
      state.debts[i] = bucketCancel(limit, state.debts[i], units, state.at, actAt, state.lineEnd);
    }
  });
  if (actAt === state.lineEnd) state.lineEnd = endOfLine(policy, state);
  state.changed = true;
}

/** When those go on who wait after the last of them has left: the slowest limit tells. */
function endOfLine({ limits }: Policy, state: BucketState): number {
  let end = 0;
  for (let i = 0; i < limits.length; i++) {
    const limit = limits[i];
    const log = state.logs[i];
    if (log) end = Math.max(end, log.newest);
    else if (limit.refill > 0) end = Math.max(end, state.at + bucketWait(limit, state.debts[i], 0, state.at));
  }
  return end > state.at ? end : 0;
}

/** Units that limit `i` still has; below zero when in debt. */
export function balanceOf(limit: Limit, state: BucketState, i: number): number {
  return limit.capacity - (state.logs[i]?.sum ?? state.debts[i]);
}

/** Milliseconds from `state.at` until limit `i` is full. */
export function resetOf(limit: Limit, state: BucketState, i: number): number {
  const log = state.logs[i];
  return log ? windowReset(limit, log, state.at) : timeFor(limit, state.debts[i], state.at);
}

/** Milliseconds from `state.at` until limit `i` has one whole token more than now, or is full; 0 if it is full. */
export function moreOf(limit: Limit, state: BucketState, i: number): number {
  const log = state.logs[i];
  return log ? windowMore(limit, log, state.at) : bucketMore(limit, state.debts[i], state.at);
}

/** Milliseconds from `now` after which nothing would be lost if the state were dropped; 0 for at once. */
export function lifetime(policy: Policy, state: BucketState, now: number): number {
  let reset = Math.max(0, state.blockedUntil - state.at);
  for (let i = 0; i < policy.limits.length; i++) reset = Math.max(reset, resetOf(policy.limits[i], state, i));
  return reset === 0 ? 0 : state.at - now + reset;
}
