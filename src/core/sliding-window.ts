import { type Limit, slotOf } from './limit.js';

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

/** The admissions of one window, the oldest first. `head` is the first that still counts, `sum` what they add up to. */
export class AdmissionLog {
  times: number[] = [];
  amounts: number[] = [];
  head = 0;
  sum = 0;

  /** Becomes what `other` is, with the same lists. */
  assign(other: AdmissionLog): void {
    this.times = other.times;
    this.amounts = other.amounts;
    this.head = other.head;
    this.sum = other.sum;
  }

  /** What counts, as time, amount, time, amount, … */
  entries(): number[] {
    return this.times.slice(this.head).flatMap((time, i) => [time, this.amounts[this.head + i]]);
  }

  /** Becomes what `entries` told. */
  fill(entries: readonly number[]): void {
    for (let i = 0; i < entries.length; i += 2) {
      this.times.push(entries[i]);
      this.amounts.push(entries[i + 1]);
      this.sum += entries[i + 1];
    }
  }

  /** The same admissions in lists of its own. */
  clone(): AdmissionLog {
    const copy = new AdmissionLog();
    copy.times = this.times.slice(this.head);
    copy.amounts = this.amounts.slice(this.head);
    copy.sum = this.sum;
    return copy;
  }
}

/** Passes over what has left the window at `now`. It stays in the lists, so that who only looks changes nothing. */
export function expire(limit: Limit, log: AdmissionLog, now: number): void {
  const { times, amounts } = log;
  let { head } = log;
  while (head < times.length && times[head] + limit.period <= now) log.sum -= amounts[head++];
  log.head = head;
}

/** Milliseconds until `amount` is admitted: until enough of the oldest have left. Never, above `maxRequest`. */
export function windowWait(limit: Limit, log: AdmissionLog, amount: number, now: number): number {
  // In this order no sum is beyond what can be counted: else more would be over than there is.
  let over = log.sum - limit.capacity + amount;
  if (over <= 0) return 0;
  if (amount > limit.capacity) return Infinity;
  for (let i = log.head; ; i++) {
    over -= log.amounts[i];
    if (over <= 0) return log.times[i] + limit.period - now;
  }
}

/** Milliseconds until nothing counts any more. */
export function windowReset(limit: Limit, log: AdmissionLog, now: number): number {
  return log.sum > 0 ? log.times[log.times.length - 1] + limit.period - now : 0;
}

/** Milliseconds until the oldest leaves; 0 if there is none. */
export function windowMore(limit: Limit, log: AdmissionLog, now: number): number {
  return log.sum > 0 ? log.times[log.head] + limit.period - now : 0;
}

/** Admits `asked` at the instant `at`, which may lie ahead. */
export function admit(limit: Limit, log: AdmissionLog, asked: number, at: number): void {
  if (log.head > 32 && log.head * 2 > log.times.length) dropPassed(log);
  const { times, amounts } = log;
  const amount = Math.min(asked, Number.MAX_SAFE_INTEGER - log.sum);
  const time = inSlot(at, limit.slot);
  let index = times.length;
  while (index > log.head && times[index - 1] > time) index--;
  log.sum += amount;
  if (index > log.head && times[index - 1] === time) {
    amounts[index - 1] += amount;
  } else if (index === times.length) {
    times.push(time);
    amounts.push(amount);
  } else {
    times.splice(index, 0, time);
    amounts.splice(index, 0, amount);
  }
  if (times.length - log.head > MOST_EXACT && limit.slot === 1) merge(log, slotOf(limit.period));
}

/** Takes `amount` of the newest admissions back that have happened; those still in line keep their place. */
export function takeBack(limit: Limit, log: AdmissionLog, amount: number, now: number): void {
  const latest = inSlot(now, limit.slot);
  let index = log.times.length - 1;
  while (index >= log.head && log.times[index] > latest) index--;
  while (index >= log.head && amount > 0) amount -= reduce(log, index--, amount);
}

/** Cancels an admission of `amount` that lay ahead at `actAt`; what was reserved behind it is not given back. */
export function cancelAdmission(limit: Limit, log: AdmissionLog, amount: number, actAt: number): void {
  const time = inSlot(actAt, limit.slot);
  let index = log.times.length - 1;
  let behind = 0;
  while (index >= log.head && log.times[index] > time) behind += log.amounts[index--];
  if (index >= log.head && amount > behind) reduce(log, index, amount - behind);
}

function dropPassed(log: AdmissionLog): void {
  log.times.splice(0, log.head);
  log.amounts.splice(0, log.head);
  log.head = 0;
}

/** Takes up to `amount` from one entry; returns what it took. */
function reduce(log: AdmissionLog, index: number, amount: number): number {
  const taken = Math.min(amount, log.amounts[index]);
  log.amounts[index] -= taken;
  log.sum -= taken;
  if (log.amounts[index] === 0) {
    log.times.splice(index, 1);
    log.amounts.splice(index, 1);
  }
  return taken;
}

/** Rounds all entries up to slots. */
function merge(log: AdmissionLog, slot: number): void {
  const { times, amounts, head } = log;
  log.times = [];
  log.amounts = [];
  log.head = 0;
  for (let i = head; i < times.length; i++) {
    const time = inSlot(times[i], slot);
    const last = log.times.length - 1;
    if (last >= 0 && log.times[last] === time) log.amounts[last] += amounts[i];
    else {
      log.times.push(time);
      log.amounts.push(amounts[i]);
    }
  }
}

function inSlot(time: number, slot: number): number {
  return slot === 1 ? time : Math.ceil(time / slot) * slot;
}
