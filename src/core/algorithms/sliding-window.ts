import { type Limit, slotOf } from '../limit.js';

/*
 * The exact sliding window: what was admitted at t counts in [t, t + period), and in no interval of that length is
 * more admitted than `maxRequest`. Who waits in line counts from now on and leaves `period` after the instant at which
 * he acts, so nobody can overtake him.
 *
 * Up to 128 requests each admission keeps its millisecond. Above, its time is rounded up to a slot of 1/128 of the
 * window: it may count up to one slot longer, never shorter, and the state stays bounded.
 */

/** A log of more entries than this (fractional costs can make one) is merged into slots as well. */
const MOST_EXACT = 256;

/** The admissions of one window. `head` is where the first stands that still counts, `sum` what they add up to. */
export class AdmissionLog {
  /** Time, amount, time, amount, …, the oldest first. */
  list: number[] = [];
  head = 0;
  sum = 0;

  /** Becomes what `other` is, with the same list. */
  assign(other: AdmissionLog): void {
    this.list = other.list;
    this.head = other.head;
    this.sum = other.sum;
  }

  /** What counts, as time, amount, time, amount, … */
  entries(): number[] {
    return this.list.slice(this.head);
  }

  /** Becomes what `entries` told. */
  fill(entries: readonly number[]): void {
    this.list = [...entries];
    for (let i = 1; i < entries.length; i += 2) this.sum += entries[i];
  }

  /** The time of the newest; 0 if none counts. */
  get newest(): number {
    return this.sum > 0 ? this.list[this.list.length - 2] : 0;
  }

  /** The same admissions in a list of its own. */
  clone(): AdmissionLog {
    const copy = new AdmissionLog();
    copy.list = this.entries();
    copy.sum = this.sum;
    return copy;
  }
}

/** Passes over what has left the window at `now`. It stays in the list, so that who only looks changes nothing. */
export function expire(limit: Limit, log: AdmissionLog, now: number): void {
  const { list } = log;
  let { head } = log;
  for (; head < list.length && list[head] + limit.period <= now; head += 2) log.sum -= list[head + 1];
  log.head = head;
}

/** Milliseconds until `amount` is admitted: until enough of the oldest have left. Never, above `maxRequest`. */
export function windowWait(limit: Limit, log: AdmissionLog, amount: number, now: number): number {
  // In this order no sum is beyond what can be counted: else more would be over than there is.
  let over = log.sum - limit.capacity + amount;
  if (over <= 0) return 0;
  if (amount > limit.capacity) return Infinity;
  for (let i = log.head; ; i += 2) {
    over -= log.list[i + 1];
    if (over <= 0) return log.list[i] + limit.period - now;
  }
}

/** Milliseconds until nothing counts any more. */
export function windowReset(limit: Limit, log: AdmissionLog, now: number): number {
  return log.sum > 0 ? log.newest + limit.period - now : 0;
}

/** Milliseconds until the oldest leaves; 0 if there is none. */
export function windowMore(limit: Limit, log: AdmissionLog, now: number): number {
  return log.sum > 0 ? log.list[log.head] + limit.period - now : 0;
}

/** Admits `asked` at the instant `at`, which may lie ahead. */
export function admit(limit: Limit, log: AdmissionLog, asked: number, at: number): void {
  if (log.head > 64 && log.head * 2 > log.list.length) dropPassed(log);
  const { list } = log;
  const amount = Math.min(asked, Number.MAX_SAFE_INTEGER - log.sum);
  const time = inSlot(at, limit.slot);
  let end = list.length;
  while (end > log.head && list[end - 2] > time) end -= 2;
  log.sum += amount;
  if (end > log.head && list[end - 2] === time) list[end - 1] += amount;
  // No longer than it must be: most windows see few requests, and a list that grows takes room for sixteen numbers.
  else if (list.length === 0) log.list = [time, amount];
  else if (end === list.length) list.push(time, amount);
  else list.splice(end, 0, time, amount);
  if (list.length - log.head > 2 * MOST_EXACT && limit.slot === 1) merge(log, slotOf(limit.period));
}

/** Takes `amount` of the newest admissions back that have happened; those still in line keep their place. */
export function takeBack(limit: Limit, log: AdmissionLog, amount: number, now: number): void {
  const latest = inSlot(now, limit.slot);
  let index = log.list.length - 2;
  while (index >= log.head && log.list[index] > latest) index -= 2;
  for (; index >= log.head && amount > 0; index -= 2) amount -= reduce(log, index, amount);
}

/** Cancels an admission of `amount` that lay ahead at `actAt`; what was reserved behind it is not given back. */
export function cancelAdmission(limit: Limit, log: AdmissionLog, amount: number, actAt: number): void {
  const time = inSlot(actAt, limit.slot);
  let index = log.list.length - 2;
  let behind = 0;
  for (; index >= log.head && log.list[index] > time; index -= 2) behind += log.list[index + 1];
  if (index >= log.head && amount > behind) reduce(log, index, amount - behind);
}

function dropPassed(log: AdmissionLog): void {
  log.list.splice(0, log.head);
  log.head = 0;
}

/** Takes up to `amount` from the entry at `index`; returns what it took. */
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
    const time = inSlot(list[i], slot);
    if (merged[merged.length - 2] === time) merged[merged.length - 1] += list[i + 1];
    else merged.push(time, list[i + 1]);
  }
  log.list = merged;
  log.head = 0;
}

function inSlot(time: number, slot: number): number {
  return slot === 1 ? time : Math.ceil(time / slot) * slot;
}
