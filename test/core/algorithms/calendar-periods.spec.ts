import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  CALENDAR_PERIODS,
  type CalendarPeriod,
  CalendarPeriods,
  calendarPeriods,
} from '../../../src/core/algorithms/calendar-periods.js';
import { periodName } from '../../support/calendar.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Any instant of the period, its start and its end, as a `Date` parses them in UTC. */
const CASES: [name: string, period: CalendarPeriod, zone: string, at: string, start: string, end: string][] = [
  ['a day of UTC', 'day', 'UTC', '2024-05-01T12:00', '2024-05-01', '2024-05-02'],
  ['the first millisecond of a day', 'day', 'UTC', '2024-05-01', '2024-05-01', '2024-05-02'],
  ['the last millisecond of a day', 'day', 'UTC', '2024-05-01T23:59:59.999', '2024-05-01', '2024-05-02'],
  ['a leap day', 'day', 'UTC', '2024-02-29T01:00', '2024-02-29', '2024-03-01'],
  ['the February of a leap year', 'month', 'UTC', '2024-02-29T01:00', '2024-02-01', '2024-03-01'],
  ['the February of a year that is no leap year', 'month', 'UTC', '2100-02-28', '2100-02-01', '2100-03-01'],
  ['a December', 'month', 'UTC', '2024-12-31T23:59', '2024-12-01', '2025-01-01'],
  ['a leap year', 'year', 'UTC', '2024-07-01', '2024-01-01', '2025-01-01'],
  ['a Sunday', 'week', 'UTC', '2024-12-29T23:59', '2024-12-23', '2024-12-30'],
  ['a week over the end of a year', 'week', 'UTC', '2025-01-01', '2024-12-30', '2025-01-06'],
  ['a time before 1970', 'year', 'UTC', '1969-12-31T23:00', '1969-01-01', '1970-01-01'],
  [
    'a month over the start of summer time',
    'month',
    'Europe/Berlin',
    '2024-03-15',
    '2024-02-29T23:00',
    '2024-03-31T22:00',
  ],
  ['a week over the end of summer time', 'week', 'Europe/Berlin', '2024-10-24', '2024-10-20T22:00', '2024-10-27T23:00'],
  ['an offset of 45 minutes', 'day', 'Asia/Kathmandu', '2024-05-01T12:00', '2024-04-30T18:15', '2024-05-01T18:15'],
  [
    'an offset with seconds',
    'day',
    'Africa/Monrovia',
    '1972-01-06T12:00',
    '1972-01-06T00:44:30',
    '1972-01-07T00:44:30',
  ],
  [
    'a day without midnight in São Paulo',
    'day',
    'America/Sao_Paulo',
    '2018-11-04T12:00',
    '2018-11-04T03:00',
    '2018-11-05T02:00',
  ],
  [
    'a day with two midnights in São Paulo',
    'day',
    'America/Sao_Paulo',
    '2018-02-18T02:30',
    '2018-02-17T02:00',
    '2018-02-18T03:00',
  ],
  [
    'a day without midnight in Cairo',
    'day',
    'Africa/Cairo',
    '2023-04-28T12:00',
    '2023-04-27T22:00',
    '2023-04-28T21:00',
  ],
  ['a day of 25 hours in Cairo', 'day', 'Africa/Cairo', '2023-10-26T21:30', '2023-10-25T21:00', '2023-10-26T22:00'],
  [
    'a day without midnight in Beirut',
    'day',
    'Asia/Beirut',
    '2022-03-27T12:00',
    '2022-03-26T22:00',
    '2022-03-27T21:00',
  ],
  ['a day of 25 hours in Beirut', 'day', 'Asia/Beirut', '2022-10-29T21:30', '2022-10-28T21:00', '2022-10-29T22:00'],
  [
    'a day that starts twice in Havana',
    'day',
    'America/Havana',
    '2023-11-05T05:30',
    '2023-11-05T04:00',
    '2023-11-06T05:00',
  ],
  [
    'an evening that returns after midnight in St. John’s',
    'day',
    'America/St_Johns',
    '2006-10-29T02:45',
    '2006-10-29T02:30',
    '2006-10-30T03:30',
  ],
  [
    'the day before the one that Apia skipped',
    'day',
    'Pacific/Apia',
    '2011-12-30T09:59',
    '2011-12-29T10:00',
    '2011-12-30T10:00',
  ],
  [
    'the day after the one that Apia skipped',
    'day',
    'Pacific/Apia',
    '2011-12-30T10:00',
    '2011-12-30T10:00',
    '2011-12-31T10:00',
  ],
  [
    'the week of the day that Apia skipped',
    'week',
    'Pacific/Apia',
    '2011-12-30T10:00',
    '2011-12-26T10:00',
    '2012-01-01T10:00',
  ],
];

/** Instants at which clocks were set forward or back near midnight. */
const CHANGES = CASES.filter(([, period, zone]) => period === 'day' && zone !== 'UTC');

const zones = fc.constantFrom(
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'America/Sao_Paulo',
  'America/Havana',
  'America/St_Johns',
  'Africa/Cairo',
  'Africa/Casablanca',
  'Asia/Beirut',
  'Asia/Gaza',
  'Asia/Tehran',
  'Asia/Kathmandu',
  'Asia/Kolkata',
  'Australia/Lord_Howe',
  'Antarctica/Troll',
  'Atlantic/Azores',
  'Pacific/Apia',
  'Pacific/Chatham',
  'Pacific/Kiritimati',
  'Pacific/Kwajalein',
);

const instants = fc.oneof(
  fc.tuple(zones, fc.integer({ min: Date.UTC(1975, 0), max: Date.UTC(2035, 0) })),
  fc
    .tuple(fc.constantFrom(...CHANGES), fc.integer({ min: -30 * HOUR, max: 30 * HOUR }))
    .map(([[, , zone, at], distance]): [string, number] => [zone, utc(at) + distance]),
);

function utc(time: string): number {
  return Date.parse(`${time.includes('T') ? time : `${time}T00:00`}Z`);
}

function clockTime(zone: string, at: number): string {
  return new Intl.DateTimeFormat('sv-SE', { timeZone: zone, timeStyle: 'short' }).format(at);
}

describe('CalendarPeriods', () => {
  it.each(CASES)('knows the start and the end of %s', (_, period, zone, at, start, end) => {
    const periods = new CalendarPeriods(period, zone);
    expect(periods.endAt(utc(at))).toBe(utc(end));
    expect(periods.endAt(utc(start))).toBe(utc(end));
    expect(periods.endAt(utc(start) - 1)).toBe(utc(start));
  });

  it('ends a period when the clocks first show a date of the next one', () => {
    let changes = 0;
    fc.assert(
      fc.property(instants, fc.constantFrom('day', 'day', ...CALENDAR_PERIODS), ([zone, at], period) => {
        const periods = new CalendarPeriods(period, zone);
        const end = periods.endAt(at);
        if (clockTime(zone, end) !== clockTime(zone, end - DAY)) changes++;
        expect(end).toBeGreaterThan(at);
        expect(end - at).toBeLessThanOrEqual(periods.longest);
        expect(periodName(period, zone, end - 1)).toBe(periodName(period, zone, at));
        expect(periodName(period, zone, end)).not.toBe(periodName(period, zone, at));
      }),
      { numRuns: 300 },
    );
    expect(changes).toBeGreaterThan(5);
  });

  it('returns the two periods around the nearest boundary, one of which contains the instant', () => {
    fc.assert(
      fc.property(instants, fc.constantFrom(...CALENDAR_PERIODS), ([zone, at], period) => {
        const periods = new CalendarPeriods(period, zone);
        const [start, boundary, end] = periods.pairAt(at);
        expect(at).toBeGreaterThanOrEqual(start);
        expect(at).toBeLessThan(end);
        expect(periods.endAt(start)).toBe(boundary);
        expect(periods.endAt(boundary)).toBe(end);
        expect(periods.endAt(at)).toBe(at < boundary ? boundary : end);
        expect(Math.abs(at - boundary)).toBeLessThanOrEqual(Math.min(at - start, end - at));
      }),
      { numRuns: 150 },
    );
  });

  it('returns the end of any period, whichever was used before', () => {
    const periods = new CalendarPeriods('month', 'Europe/Berlin');
    const ends = ['2024-03-15', '2024-02-10', '2024-03-20', '2030-01-01'].map((at) => periods.endAt(utc(at)));
    expect(ends).toEqual(['2024-03-31T22:00', '2024-02-29T23:00', '2024-03-31T22:00', '2030-01-31T23:00'].map(utc));
  });

  it('are shared by all limits of the same period and zone', () => {
    expect(calendarPeriods('day', 'Asia/Tokyo')).toBe(calendarPeriods('day', 'Asia/Tokyo'));
    expect(calendarPeriods('week', 'Asia/Tokyo')).not.toBe(calendarPeriods('day', 'Asia/Tokyo'));
  });

  it('forgets the oldest of more than 500 zones, whose names clients may choose', () => {
    const first = calendarPeriods('day', 'Europe/Paris');
    for (let i = 0; i < 1024; i++) {
      const letters = [...'europe/paris'].map((letter, n) => ((i >> n) % 2 === 1 ? letter.toUpperCase() : letter));
      calendarPeriods('day', letters.join(''));
    }
    expect(calendarPeriods('day', 'Europe/Paris')).not.toBe(first);
  });

  it('rejects unknown zones', () => {
    expect(() => calendarPeriods('day', 'Europe/Atlantis')).toThrow(RangeError);
  });
});
