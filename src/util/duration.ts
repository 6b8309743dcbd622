import { invalidOption } from './option-error.js';

/** A length of time: a number of milliseconds, or a string such as `'250ms'`, `'10s'`, `'5m'`, `'2h'`, `'7d'`. */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`;

/** The units of `duration` in `@RateLimit`. */
export const TimeUnit = Object.freeze({
  MILLISECONDS: 'milliseconds',
  SECONDS: 'seconds',
  MINUTES: 'minutes',
  HOURS: 'hours',
  DAYS: 'days',
} as const);
/** `TimeUnit.SECONDS`, or the equivalent string: `'seconds'`, `'second'`. */
export type TimeUnit = `${'millisecond' | 'second' | 'minute' | 'hour' | 'day'}${'' | 's'}`;

const UNIT_MS: Record<string, number> = { millisecond: 1, second: 1e3, minute: 6e4, hour: 36e5, day: 864e5 };
/** Milliseconds of the units of a `Duration`. */
export const SUFFIX_MS: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 };

/** The longest duration that an option may have: ten years, in ms. Sums of durations stay safe integers. */
export const MAX_DURATION = 3650 * 864e5;

/** Milliseconds of a `Duration`: a positive whole number of at most ten years. */
export function parseDuration(option: string, value: unknown): number {
  if (typeof value === 'number') return wholeMs(option, value, value);
  const parts = typeof value === 'string' ? /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(value) : null;
  if (!parts) invalidOption(option, "milliseconds or a string such as '10s'", value);
  return wholeMs(option, Number(parts[1]) * SUFFIX_MS[parts[2]], value);
}

/** Milliseconds of `duration` `unit`s; one second if both are omitted. */
export function parsePeriod(duration: unknown = 1, unit: unknown = 'seconds'): number {
  const name = typeof unit === 'string' ? unit.replace(/s$/, '') : '';
  const ms = Object.hasOwn(UNIT_MS, name) && UNIT_MS[name];
  if (!ms) invalidOption('unit', `one of ${Object.values(TimeUnit).join(', ')}`, unit);
  if (typeof duration !== 'number' || !(duration > 0))
    invalidOption('duration', 'a positive number of `unit`s', duration);
  return wholeMs('duration', duration * ms, duration);
}

function wholeMs(option: string, ms: number, value: unknown): number {
  const whole = Math.round(ms);
  if (!(ms > 0)) invalidOption(option, 'positive', value);
  if (whole === 0 || Math.abs(whole - ms) > 1e-6) invalidOption(option, 'a whole number of milliseconds', value);
  if (whole > MAX_DURATION) invalidOption(option, 'at most ten years', value);
  return whole;
}
