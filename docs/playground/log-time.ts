const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const COMMON = /^(\d{1,2})\/([A-Z][a-z]{2})\/(\d{4}):(\d\d):(\d\d):(\d\d)(?:\.(\d{1,3})\d*)? ([+-])(\d\d)(\d\d)$/;
const ISO = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|[+-]\d\d:?\d\d))?)?$/;
const ZONE = /(?:Z|[+-]\d\d:?\d\d)$/;
const NUMBER = /^\d{1,19}(?:\.\d+)?$/;

/**
 * The time of a log entry in ms since 1970: ISO 8601 (UTC unless it has a zone), the common log format, or a number of
 * seconds, milliseconds, microseconds or nanoseconds since 1970. `undefined` if it is none of these.
 */
export function parseTime(value: unknown): number | undefined {
  if (typeof value === 'number') return fromNumber(value);
  if (typeof value !== 'string') return undefined;
  const text = value.trim();
  if (NUMBER.test(text)) return fromNumber(Number(text));
  return ISO.test(text) ? fromIso(text) : fromCommon(text);
}

function fromNumber(value: number): number | undefined {
  if (!(value > 0) || value >= 1e20) return undefined;
  // Each unit covers the years from about 1973 to 5138.
  if (value < 1e11) return Math.round(value * 1000);
  if (value < 1e14) return Math.round(value);
  return Math.round(value < 1e17 ? value / 1e3 : value / 1e6);
}

function fromIso(text: string): number | undefined {
  const written = text.replace(' ', 'T').replace(' ', '').replace(',', '.');
  const hasTime = written.includes('T');
  return finite(Date.parse(hasTime && !ZONE.test(written.slice(11)) ? `${written}Z` : written));
}

function fromCommon(text: string): number | undefined {
  const [, day, month, year, hours, minutes, seconds, fraction = '', sign, zoneHours, zoneMinutes] =
    COMMON.exec(text) ?? [];
  const index = MONTHS.indexOf(month);
  if (index < 0) return undefined;
  const utc = Date.UTC(Number(year), index, Number(day), Number(hours), Number(minutes), Number(seconds));
  const zone = (Number(zoneHours) * 60 + Number(zoneMinutes)) * 60_000;
  return finite(utc + Number(fraction.padEnd(3, '0')) + (sign === '-' ? zone : -zone));
}

function finite(ms: number): number | undefined {
  return Number.isFinite(ms) && ms > 0 ? ms : undefined;
}
