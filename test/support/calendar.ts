import type { CalendarPeriod } from 'nest-rate-limit';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 86_400_000;

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(zone: string): Intl.DateTimeFormat {
  const format = formats.get(zone) ?? new Intl.DateTimeFormat('sv-SE', { timeZone: zone });
  formats.set(zone, format);
  return format;
}

/** Names the period of an instant by the latest date that the clocks of the zone have shown until then. */
export function periodName(period: CalendarPeriod, zone: string, at: number): string {
  const format = formatOf(zone);
  let latest = '';
  // In St. John's, clocks were set back one minute after midnight.
  const probe = zone === 'America/St_Johns' ? MINUTE : HOUR / 2;
  for (let before = 0; before <= 3 * HOUR; before += probe) {
    const date = format.format(at - before);
    if (date > latest) latest = date;
  }
  if (period === 'week') return `week ${Math.floor((Date.parse(latest) / DAY + 3) / 7)}`;
  return latest.slice(0, { day: 10, month: 7, year: 4 }[period]);
}
