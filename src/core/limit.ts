import { type Duration, parseDuration, parsePeriod, type TimeUnit } from '../util/duration.js';
import { checkOptionNames, invalidOption, RateLimitOptionError, withErrorPrefix } from '../util/option-error.js';
import type { Limit } from './algorithms/algorithm.js';
import { calendarLimit } from './algorithms/calendar.js';
import {
  CALENDAR_PERIODS,
  type CalendarPeriod,
  type CalendarPeriods,
  calendarPeriods,
} from './algorithms/calendar-periods.js';
import { concurrencyLimit } from './algorithms/concurrency.js';
import { slidingWindowLimit } from './algorithms/sliding-window.js';
import { softLimit } from './algorithms/soft.js';
import { mostTokens, tokenBucketLimit } from './algorithms/token-bucket.js';
import { toAmount, tokenRule } from './amount.js';
import { LIMIT_SYNONYMS } from './limit-synonyms.js';
import { checkCount, DECIMALS, parseCapacity } from './sizes.js';

/**
 * The options of one limit. Which of them are given decides what the limit is:
 *
 * | given | means |
 * |---|---|
 * | `duration`, `unit`, `maxRequest` | sliding window: at most `maxRequest` in any interval of that length |
 * | `capacity`, `refill` (`duration`, `unit`) | token bucket: holds `capacity`, gains `refill` per `duration unit` |
 * | `duration`, `unit`, `maxRequest`, `capacity` | token bucket: gains `maxRequest` per `duration unit`, holds `capacity` |
 * | all five | both the window and the bucket |
 * | `capacity`, `calendar` (`timeZone`) | calendar quota: at most `capacity` per day, week, month or year |
 * | `concurrency` (`slotTtl`) | concurrency limit: at most `concurrency` at once |
 */
export interface LimitNumbers {
  /** Number of `unit`s; default 1. */
  duration?: number;
  /** The unit of `duration`; default seconds. */
  unit?: TimeUnit;
  /** Requests per `duration unit`; a positive whole number. Resolved per request also 0, which denies, or `Infinity`. */
  maxRequest?: number;
  /**
   * The most tokens that the bucket holds, or that a calendar quota has per period; positive, at most three decimals. 0
   * and `Infinity` as for `maxRequest`.
   */
  capacity?: number;
  /** Tokens gained per `duration unit`; 0 or more, at most three decimals. With 0 only `put` brings tokens back. */
  refill?: number;
  /** `'greedy'` (default): continuously. `'intervally'`: all at once at each multiple of the period since 1970. */
  refillMode?: 'greedy' | 'intervally';
  /**
   * Makes the limit a quota per period of the calendar: `capacity`, or `maxRequest`, is all that can be used in it, and is
   * new at midnight. Weeks start on Monday.
   */
  calendar?: CalendarPeriod;
  /** The IANA time zone of `calendar`, such as `'Europe/Berlin'`; default `'UTC'`. */
  timeZone?: string;
  /**
   * How many may run at once, each in a *slot*; a positive whole number. Resolved per request also 0, which denies, or
   * `Infinity`. Not beside the options above: use `limits` for both.
   */
  concurrency?: number;
  /**
   * How long slots of a process that no longer renews them stay taken: it has been killed, or has lost its connection to
   * the store. From one second to one hour, default 30 seconds. In memory slots last until they are released.
   */
  slotTtl?: Duration;
  /**
   * `true` makes a soft limit, which neither rejects nor queues requests: `Decision.exceeded` names it when they exceed
   * it, so that the handler can do less. It owes at most one capacity. Default `false`. Not for `concurrency`.
   */
  soft?: boolean;
}

/** One of several limits of a policy. */
export interface NamedLimit extends LimitNumbers {
  /** Follows the policy's name in `Decision.limits` and headers; default its kind, such as `window` or `month`, numbered if needed. */
  name?: string;
}

export const LIMIT_OPTIONS = [
  'duration',
  'unit',
  'maxRequest',
  'capacity',
  'refill',
  'refillMode',
  'calendar',
  'timeZone',
  'concurrency',
  'slotTtl',
  'soft',
] as const;

const SLOT_TTL = 30_000;
const LEAST_SLOT_TTL = 1000;
const MOST_SLOT_TTL = 3_600_000;

export const NAMED_LIMIT_OPTIONS = [...LIMIT_OPTIONS, 'name'] as const;

/** The limits that one set of options means: one, or two if all five are given. */
export function parseLimitOptions({ soft = false, ...options }: LimitNumbers): Limit[] {
  if (typeof soft !== 'boolean') invalidOption('soft', 'true or false', soft);
  const limits = parseNumbers(options);
  if (!soft) return limits;
  if (options.concurrency !== undefined) {
    throw new RateLimitOptionError(
      '`soft` must be omitted for a concurrency limit: a request without a slot cannot be admitted',
    );
  }
  return limits.map(softLimit);
}

function parseNumbers(options: LimitNumbers): Limit[] {
  const { maxRequest, capacity, refill, refillMode, calendar, concurrency, slotTtl } = options;
  if (concurrency !== undefined) return [parseConcurrency(options)];
  if (slotTtl !== undefined) throw new RateLimitOptionError('`slotTtl` must be omitted without `concurrency`');
  if (calendar !== undefined) return [parseCalendar(calendar, options)];
  checkCombination(options);
  const period = parsePeriod(options.duration, options.unit);
  const limits: Limit[] = [];
  if (maxRequest !== undefined) {
    checkCount('maxRequest', maxRequest);
    if (capacity === undefined || refill !== undefined) limits.push(slidingWindowLimit(maxRequest, period));
  }
  if (capacity !== undefined) {
    limits.push(parseBucket(capacity, refill === undefined ? maxRequest : refill, period, refillMode));
  }
  return limits;
}

function parseConcurrency({ concurrency, slotTtl = SLOT_TTL, ...others }: LimitNumbers): Limit {
  const mixed = LIMIT_OPTIONS.find((name) => others[name as keyof typeof others] !== undefined);
  if (mixed) {
    throw new RateLimitOptionError(
      `\`${mixed}\` must be omitted beside \`concurrency\`: use \`limits: [...]\` for both`,
    );
  }
  checkCount('concurrency', concurrency);
  const ttl = parseDuration('slotTtl', slotTtl);
  if (ttl < LEAST_SLOT_TTL || ttl > MOST_SLOT_TTL) invalidOption('slotTtl', 'from one second to one hour', slotTtl);
  return concurrencyLimit(concurrency, ttl);
}

function checkCombination({ maxRequest, capacity, refill, refillMode, timeZone }: LimitNumbers): void {
  if (timeZone !== undefined) throw new RateLimitOptionError('`calendar` must be given with `timeZone`');
  if (maxRequest === undefined && capacity === undefined && refill === undefined) {
    throw new RateLimitOptionError('`maxRequest`, or `capacity` and `refill`, or `concurrency`, must be given');
  }
  if (capacity === undefined && refill !== undefined) {
    throw new RateLimitOptionError('`capacity` must be given with `refill`');
  }
  if (capacity !== undefined && refill === undefined && maxRequest === undefined) {
    throw new RateLimitOptionError('`refill` or `maxRequest` must be given with `capacity`');
  }
  if (capacity === undefined && refillMode !== undefined) {
    throw new RateLimitOptionError('`refillMode` must be omitted without `capacity`: a window has no refill');
  }
}

/** The options that say when tokens return, which the calendar does. */
const REFILL_OPTIONS = ['duration', 'unit', 'refill', 'refillMode'] as const;

function parseCalendar(calendar: CalendarPeriod, options: LimitNumbers): Limit {
  if (!CALENDAR_PERIODS.includes(calendar)) {
    invalidOption('calendar', `one of ${CALENDAR_PERIODS.join(', ')}`, calendar);
  }
  const refill = REFILL_OPTIONS.find((name) => options[name] !== undefined);
  if (refill) {
    throw new RateLimitOptionError(
      `\`${refill}\` must be omitted beside \`calendar\`: a quota is full again at the start of the next ${calendar}`,
    );
  }
  const { capacity, maxRequest, timeZone = 'UTC' } = options;
  if (maxRequest !== undefined) checkCount('maxRequest', maxRequest);
  if (capacity !== undefined && maxRequest !== undefined) {
    throw new RateLimitOptionError('`maxRequest` must be omitted beside `calendar` and `capacity`: both are the quota');
  }
  const quota = capacity ?? maxRequest;
  if (quota === undefined) throw new RateLimitOptionError('`capacity` must be given with `calendar`');
  const amount = parseCapacity(quota);
  const most = mostTokens(1);
  if (quota > most) invalidOption('capacity', `at most ${most}`, quota);
  return calendarLimit(quota, amount, parsePeriods(calendar, timeZone));
}

function parsePeriods(calendar: CalendarPeriod, timeZone: unknown): CalendarPeriods {
  const rule = "an IANA time zone such as 'Europe/Berlin'";
  if (typeof timeZone !== 'string') invalidOption('timeZone', rule, timeZone);
  try {
    return calendarPeriods(calendar, timeZone);
  } catch {
    return invalidOption('timeZone', rule, timeZone);
  }
}

function parseBucket(capacity: number, refill: unknown, period: number, mode: unknown = 'greedy'): Limit {
  const amount = parseCapacity(capacity);
  const gain = refill === 0 ? 0 : toAmount(refill);
  if (typeof refill !== 'number' || !(refill >= 0)) invalidOption('refill', 'a number of at least 0', refill);
  if (gain === undefined) invalidOption('refill', tokenRule(refill, DECIMALS), refill);
  if (mode !== 'greedy' && mode !== 'intervally') invalidOption('refillMode', "'greedy' or 'intervally'", mode);
  const limit = tokenBucketLimit(capacity, amount, gain, period, mode === 'greedy');
  const most = mostTokens(limit.weight);
  if (capacity > most) {
    invalidOption('capacity', `at most ${most} at this \`refill\`, so that it can be counted exactly`, capacity);
  }
  return limit;
}

/** Checks that `limits` is a list of objects whose options are all `known`. */
export function checkLimitNames(list: unknown, known: readonly string[] = NAMED_LIMIT_OPTIONS): void {
  if (!Array.isArray(list) || list.length === 0) invalidOption('limits', 'a list of at least one limit', list);
  for (const [index, entry] of list.entries()) {
    const place = `limits[${index}]`;
    if (typeof entry !== 'object' || entry === null) invalidOption(place, 'an object', entry);
    withErrorPrefix(place, () => checkOptionNames(entry, known, LIMIT_SYNONYMS));
  }
}

/** The limits of a list, of whose entries each may mean two. `checkLimitNames` has accepted the list. */
export function parseLimits(list: readonly NamedLimit[], parse: (options: LimitNumbers) => Limit[]): Limit[] {
  const limits = list.flatMap((options, entry) =>
    withErrorPrefix(`limits[${entry}]`, () => {
      const parsed = parse(options).map((limit) => ({ ...limit, entry }));
      if (options.name === undefined) return parsed;
      const name = checkName(options.name);
      return parsed.map((limit) => ({ ...limit, name: parsed.length === 1 ? name : `${name}-${limit.kind}` }));
    }),
  );
  const slots = limits.filter(({ kind }) => kind === 'concurrency').length;
  if (slots > 1) invalidOption('limits', 'a list with at most one `concurrency`, the smallest', `${slots} of them`);
  return uniqueNames(limits);
}

/** Names appear in headers, so they are printable ASCII. */
export function checkName(name: unknown): string {
  if (typeof name !== 'string' || !/^[\x20-\x7e]{1,128}$/.test(name)) {
    invalidOption('name', 'printable ASCII of 1 to 128 characters', name);
  }
  return name;
}

/** Numbers equal names: the second `bucket` becomes `bucket-2`. */
function uniqueNames(limits: Limit[]): Limit[] {
  const seen = new Set<string>();
  return limits.map((limit) => {
    let name = limit.name;
    for (let number = 2; seen.has(name); number++) name = `${limit.name}-${number}`;
    seen.add(name);
    return { ...limit, name };
  });
}
