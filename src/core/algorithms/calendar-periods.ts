import { BoundedMap } from '../../util/bounded-map.js';
import { TimeZone } from '../../util/time-zone.js';

/** A period of the calendar, from midnight to midnight. A week starts on Monday. */
export type CalendarPeriod = 'day' | 'week' | 'month' | 'year';

const DAY = 86_400_000;

interface Unit {
  /** The longest period in ms, and a day more: clocks that are set back make a period longer. */
  readonly longest: number;
  /** The first midnight of the `n`th period after that of a date, as local time. */
  start(year: number, month: number, day: number, daysSinceMonday: number, n: number): number;
}

const UNITS: Readonly<Record<CalendarPeriod, Unit>> = {
  day: { longest: 2 * DAY, start: (year, month, day, _, n) => Date.UTC(year, month, day + n) },
  week: { longest: 8 * DAY, start: (year, month, day, since, n) => Date.UTC(year, month, day - since + 7 * n) },
  month: { longest: 32 * DAY, start: (year, month, _day, _, n) => Date.UTC(year, month + n) },
  year: { longest: 367 * DAY, start: (year, _month, _day, _, n) => Date.UTC(year + n, 0) },
};

export const CALENDAR_PERIODS = Object.keys(UNITS) as readonly CalendarPeriod[];

/** The longest period of each unit in ms, in ascending order. */
export const LONGEST_PERIODS: readonly number[] = Object.values(UNITS).map(({ longest }) => longest);

/** Two periods that follow each other: the start of the first, their boundary, and the end of the second. */
export type PeriodPair = readonly [start: number, boundary: number, end: number];

interface Period {
  readonly start: number;
  readonly end: number;
}

/**
 * The days, weeks, months or years of a time zone. All instants are ms since 1970. A period starts when the clocks first
 * show its first midnight, or a later time if they skip that: so periods have no gaps, and once the next one has started,
 * clocks that are set back do not end it. A day that the clocks skip does not exist.
 */
export class CalendarPeriods {
  /** The longest period, in ms. */
  readonly longest: number;
  private readonly unit: Unit;
  private readonly zone: TimeZone;
  private current: Period = { start: Infinity, end: -Infinity };

  /** Throws a `RangeError` if the time zone is unknown. */
  constructor(
    readonly period: CalendarPeriod,
    readonly timeZone: string,
  ) {
    this.unit = UNITS[period];
    this.longest = this.unit.longest;
    this.zone = new TimeZone(timeZone);
  }

  /** When the period ends that contains `at`. */
  endAt(at: number): number {
    const { start, end } = this.current;
    if (at >= start && at < end) return end;
    this.current = this.find(at);
    return this.current.end;
  }

  /** The two periods on both sides of the boundary nearest to `at`. */
  pairAt(at: number): PeriodPair {
    const { start, end } = this.find(at);
    return at - start < end - at ? [this.find(start - 1).start, start, end] : [start, end, this.find(end).end];
  }

  private find(at: number): Period {
    const local = this.zone.localTime(at);
    let start = this.startOf(local, 0);
    for (let n = 1; ; n++) {
      const end = this.startOf(local, n);
      if (end > at) return { start, end };
      start = end;
    }
  }

  /** When the `n`th period after that of the local time starts. */
  private startOf(local: number, n: number): number {
    const date = new Date(local);
    const daysSinceMonday = (date.getUTCDay() + 6) % 7;
    const midnight = this.unit.start(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate(), daysSinceMonday, n);
    return this.zone.firstAt(midnight);
  }
}

/** Time zones may come from clients, and each has tables of its own. */
const MAX_KNOWN = 500;
const known = new BoundedMap<string, CalendarPeriods>(MAX_KNOWN);

/** The periods of a time zone, which are shared. Throws a `RangeError` if the time zone is unknown. */
export function calendarPeriods(period: CalendarPeriod, timeZone: string): CalendarPeriods {
  const name = `${period}@${timeZone}`;
  let periods = known.get(name);
  if (!periods) {
    periods = new CalendarPeriods(period, timeZone);
    known.set(name, periods);
  }
  return periods;
}
