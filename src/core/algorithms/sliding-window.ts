import { AMOUNT_PER_TOKEN } from '../amount.js';
import { AdmissionLog } from './admission-log.js';
import type { Algorithm, BucketState, Limit } from './algorithm.js';
import { divideRequests } from './share.js';

/*
 * The exact sliding window: an admission at t counts in [t, t + period), and no interval of that length admits more
 * than `maxRequest`. A queued request counts at once and leaves `period` after the instant at which it acts, so no later
 * request overtakes it.
 *
 * Up to 128 requests each admission keeps its millisecond. Above, its time is rounded up to a slot of 1/128 of the
 * window: it may count up to one slot longer, never shorter, and the state stays bounded.
 */

/** A window up to this size keeps each admission to the millisecond; a larger one to 1/128 of its length. */
export const EXACT_WINDOW = 128;

/** A log of more entries than this (fractional costs can make one) is merged into slots as well. */
export const MOST_EXACT = 256;

/** Passes over admissions that have left the window at `now`. They stay in the list, so a mere look changes nothing. */
export function expire(limit: Limit, log: AdmissionLog, now: number): void {
  const { list } = log;
  let { head } = log;
  for (; head < list.length && list[head] + limit.period <= now; head += 2) log.sum -= list[head + 1];
  log.head = head;
}

/** Milliseconds until `amount` is admitted: until enough of the oldest have left. `Infinity` above `maxRequest`. */
export function windowWait(limit: Limit, log: AdmissionLog, amount: number, now: number): number {
  // Subtracted first: the sum of both may exceed what can be counted exactly.
  let over = log.sum - limit.capacity + amount;
  if (over <= 0) return 0;
  if (amount > limit.capacity) return Infinity;
  for (let i = log.head; ; i += 2) {
    over -= log.list[i + 1];
    if (over <= 0) return log.list[i] + limit.period - now;
  }
}

/** Milliseconds until no admission counts any more. */
export function windowReset(limit: Limit, log: AdmissionLog, now: number): number {
  return log.sum > 0 ? log.newest + limit.period - now : 0;
}

/** Milliseconds until the oldest admission leaves; 0 if there is none. */
export function windowMore(limit: Limit, log: AdmissionLog, now: number): number {
  return log.sum > 0 ? log.list[log.head] + limit.period - now : 0;
}

/** Admits `requested` at the instant `at`, which may be in the future. Nothing is no admission: it has no time to leave. */
export function admit(limit: Limit, log: AdmissionLog, requested: number, at: number): void {
  const amount = Math.min(requested, Number.MAX_SAFE_INTEGER - log.sum);
  if (amount === 0) return;
  if (log.head > 64 && log.head * 2 > log.list.length) dropExpired(log);
  const { list } = log;
  const time = slotTime(at, limit.slot);
  let end = list.length;
  while (end > log.head && list[end - 2] > time) end -= 2;
  log.sum += amount;
  if (end > log.head && list[end - 2] === time) list[end - 1] += amount;
  // No larger than needed: most windows see few requests, and V8 gives a growing list room for sixteen numbers.
  else if (list.length === 0) log.list = [time, amount];
  else if (end === list.length) list.push(time, amount);
  else list.splice(end, 0, time, amount);
  if (list.length - log.head > 2 * MOST_EXACT && limit.slot === 1) merge(log, slotOf(limit.period));
}

/** Refunds `amount` of the oldest admissions that have acted; queued ones keep their position. */
function refundOldest(limit: Limit, log: AdmissionLog, amount: number, now: number): void {
  const latest = slotTime(now, limit.slot);
  let left = amount;
  while (left > 0 && log.head < log.list.length && log.list[log.head] <= latest) left -= reduce(log, log.head, left);
}

/** Refunds `amount` of the admission at `time`, unless it has left the window. */
function refundAdmission(log: AdmissionLog, amount: number, time: number): void {
  for (let index = log.list.length - 2; index >= log.head && log.list[index] >= time; index -= 2) {
    if (log.list[index] === time) reduce(log, index, amount);
  }
}

/** Cancels an admission of `amount` that would have acted at `actAt`, which `merge` may have rounded up. */
function cancelAdmission(limit: Limit, log: AdmissionLog, amount: number, actAt: number): void {
  const time = slotTime(actAt, limit.slot);
  const merged = slotTime(time, slotOf(limit.period));
  let index = log.list.length - 2;
  while (index > log.head && log.list[index - 2] >= time) index -= 2;
  if (index >= log.head && (log.list[index] === time || log.list[index] === merged)) reduce(log, index, amount);
}

/** Counts all admissions up to the instant `newest` as if made then, and adds what is missing to `used`. */
function countUntil(limit: Limit, log: AdmissionLog, used: number, newest: number): void {
  const time = slotTime(newest, limit.slot);
  let { head: index, sum: later } = log;
  for (; index < log.list.length && log.list[index] <= time; index += 2) later -= log.list[index + 1];
  if (used <= later) return;
  const amount = Math.max(log.sum, used) - later;
  log.list = [time, amount, ...log.list.slice(index)];
  log.head = 0;
  log.sum = later + amount;
}

function dropExpired(log: AdmissionLog): void {
  log.list.splice(0, log.head);
  log.head = 0;
}

/** Subtracts up to `amount` from the entry at `index`; returns how much. */
function reduce(log: AdmissionLog, index: number, amount: number): number {
  const { list } = log;
  const taken = Math.min(amount, list[index + 1]);
  list[index + 1] -= taken;
  log.sum -= taken;
  if (list[index + 1] === 0) list.splice(index, 2);
  return taken;
}

/** Rounds all entries up to slots. */
function merge(log: AdmissionLog, slot: number): void {
  const { list, head } = log;
  const merged: number[] = [];
  for (let i = head; i < list.length; i += 2) {
    const time = slotTime(list[i], slot);
    if (merged[merged.length - 2] === time) merged[merged.length - 1] += list[i + 1];
    else merged.push(time, list[i + 1]);
  }
  log.list = merged;
  log.head = 0;
}

function slotTime(time: number, slot: number): number {
  return slot === 1 ? time : Math.ceil(time / slot) * slot;
}

/** 1/128 of a window in whole ms, at least 1. */
function slotOf(period: number): number {
  return Math.max(1, Math.floor(period / EXACT_WINDOW));
}

function logOf({ parts }: BucketState, i: number): AdmissionLog {
  return parts[i] as AdmissionLog;
}

/** The sliding window as an algorithm: its whole state is the `AdmissionLog` in `state.parts[i]`. */
export const slidingWindow: Algorithm = {
  id: 2,
  title: 'sliding window',
  leasable: false,
  needsTakenAt: true,
  strategies: ['reset', 'as-is'],

  fingerprint: ({ size, period }) => `w${size}/${period}`,

  structure: ({ period }) => `w/${period}`,

  divide: divideRequests,

  newPart: () => new AdmissionLog(),

  advance: (limit, state, i, now) => expire(limit, logOf(state, i), now),

  wait: (limit, state, i, amount) => windowWait(limit, logOf(state, i), amount, state.at),

  take: (limit, state, i, amount, wait) => admit(limit, logOf(state, i), amount, state.at + wait),

  refund(limit, state, i, amount, mark) {
    if (mark === undefined) refundOldest(limit, logOf(state, i), amount, state.at);
    else refundAdmission(logOf(state, i), amount, mark);
  },

  newMark: (limit, actAt) => slotTime(actAt, limit.slot),

  isSpent: (limit, state, _i, mark) => mark + limit.period <= state.at,

  cancel: (limit, state, i, amount, actAt) => cancelAdmission(limit, logOf(state, i), amount, actAt),

  used: (_limit, state, i) => logOf(state, i).sum,

  timeToFull: (limit, state, i) => windowReset(limit, logOf(state, i), state.at),

  timeToNext: (limit, state, i) => windowMore(limit, logOf(state, i), state.at),

  restrict: (limit, state, i, { at, used, resetAfter }) =>
    countUntil(limit, logOf(state, i), used, at + resetAfter - limit.period),

  replace(limit, state, i, from) {
    const { list, head } = logOf(from.state, from.k);
    for (let n = head; n < list.length; n += 2) admit(limit, logOf(state, i), list[n + 1], list[n]);
  },
};

/** A window that admits `maxRequest` in any interval of `period` ms. */
export function slidingWindowLimit(maxRequest: number, period: number): Limit {
  return {
    kind: 'window',
    algorithm: slidingWindow,
    name: 'window',
    size: maxRequest,
    capacity: maxRequest * AMOUNT_PER_TOKEN,
    weight: 1,
    refill: 0,
    period,
    slot: maxRequest <= EXACT_WINDOW ? 1 : slotOf(period),
    fillTime: period,
  };
}
