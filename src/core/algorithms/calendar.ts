import { AMOUNT_PER_TOKEN } from '../amount.js';
import { type Algorithm, type BucketState, type Limit, REPLACE_STRATEGIES, type StatePart } from './algorithm.js';
import type { CalendarPeriods } from './calendar-periods.js';
import { shareOf } from './share.js';
import { carriedDebt } from './token-bucket.js';

/*
 * The calendar quota. Its state is the amount used in one period, and the end of that period, which was computed when the
 * first of it was used. Only when that instant is reached is the quota full again: so processes whose time zone data
 * differ never refill it early, and usage of a later period stays in force after the clock was set back.
 *
 * A request that exceeds the quota would have to wait for the boundary. It is denied however long it may wait, so that
 * nothing is reserved in a period that has not begun.
 */

/** The usage of one period. */
class PeriodUsage implements StatePart {
  /** The amount used; above the capacity when in debt. */
  used = 0;
  /** When the period ends; means nothing while `used` is 0. */
  end = 0;

  assign({ used, end }: PeriodUsage): void {
    this.used = used;
    this.end = end;
  }

  clone(): PeriodUsage {
    const copy = new PeriodUsage();
    copy.assign(this);
    return copy;
  }

  entries(): number[] {
    return [this.used, this.end];
  }

  restore([used, end]: readonly number[]): void {
    this.used = used;
    this.end = end;
  }
}

function usageOf({ parts }: BucketState, i: number): PeriodUsage {
  return parts[i] as PeriodUsage;
}

function periodsOf(limit: Limit): CalendarPeriods {
  return limit.calendar as CalendarPeriods;
}

/** When the period ends that the next take counts in. */
function periodEnd(limit: Limit, state: BucketState, i: number): number {
  const { used, end } = usageOf(state, i);
  return used > 0 ? end : periodsOf(limit).endAt(state.at);
}

function timeToEnd(state: BucketState, i: number): number {
  const { used, end } = usageOf(state, i);
  return used > 0 ? end - state.at : 0;
}

/** The usage without that of queued requests: a refund beyond it is lost, as from a full quota. */
function usedNow(state: BucketState, i: number): number {
  let { used } = usageOf(state, i);
  for (const { amounts } of state.queue?.reservations ?? []) used -= amounts[i];
  return Math.max(0, used);
}

function subtract(usage: PeriodUsage, amount: number): void {
  usage.used = Math.max(0, usage.used - amount);
}

function calendarOf(limit: Limit): string {
  const { period, timeZone } = periodsOf(limit);
  return `${period}@${timeZone}`;
}

/** The calendar quota as an algorithm: its whole state is the `PeriodUsage` in `state.parts[i]`. */
export const calendarQuota: Algorithm = {
  id: 4,
  title: 'calendar quota',
  leasable: false,
  needsTakenAt: true,
  strategies: REPLACE_STRATEGIES,

  fingerprint: (limit) => `q${limit.size}/${calendarOf(limit)}`,

  structure: (limit) => `q/${calendarOf(limit)}`,

  divide(limit, instances) {
    const size = shareOf(limit.size, instances, AMOUNT_PER_TOKEN);
    return { ...limit, size, capacity: Math.round(size * AMOUNT_PER_TOKEN) };
  },

  newPart: () => new PeriodUsage(),

  advance(_limit, state, i, now) {
    const usage = usageOf(state, i);
    if (usage.end <= now) usage.used = 0;
  },

  wait(limit, state, i, amount) {
    if (usageOf(state, i).used + amount <= limit.capacity) return 0;
    return amount > limit.capacity ? Infinity : timeToEnd(state, i);
  },

  horizon: (limit, state, i) => periodEnd(limit, state, i) - state.at,

  take(limit, state, i, amount) {
    const usage = usageOf(state, i);
    usage.end = periodEnd(limit, state, i);
    usage.used = Math.min(usage.used + amount, Number.MAX_SAFE_INTEGER);
  },

  refund(_limit, state, i, amount, mark) {
    const usage = usageOf(state, i);
    if (mark === undefined || mark === usage.end) subtract(usage, Math.min(amount, usedNow(state, i)));
  },

  newMark: (limit, actAt) => periodsOf(limit).endAt(actAt),

  isSpent(_limit, state, i, mark) {
    const { used, end } = usageOf(state, i);
    return used === 0 || mark !== end;
  },

  cancel: (_limit, state, i, amount) => subtract(usageOf(state, i), amount),

  used: (_limit, state, i) => usageOf(state, i).used,

  timeToFull: (_limit, state, i) => timeToEnd(state, i),

  timeToNext: (_limit, state, i) => timeToEnd(state, i),

  restrict(_limit, state, i, { at, used, resetAfter }) {
    const usage = usageOf(state, i);
    usage.end = Math.max(usage.end, at + resetAfter);
    usage.used = Math.max(usage.used, used);
  },

  replace(limit, state, i, from, strategy) {
    const usage = usageOf(state, i);
    const balance = from.limit.capacity - usageOf(from.state, from.k).used;
    usage.used = carriedDebt(from.limit, balance, limit, strategy);
    usage.end = periodsOf(limit).endAt(state.at);
  },
};

/** A quota of `amount` in each of the periods. `size` is `amount` in tokens. */
export function calendarLimit(size: number, amount: number, calendar: CalendarPeriods): Limit {
  return {
    kind: 'calendar',
    algorithm: calendarQuota,
    name: calendar.period,
    size,
    capacity: amount,
    weight: 1,
    refill: 0,
    period: 1,
    slot: 1,
    fillTime: calendar.longest,
    calendar,
  };
}
