import { parsePeriod, type TimeUnit } from '../util/duration.js';
import { at, checkNames, RateLimitOptionError, reject } from '../util/option-error.js';
import { AMOUNT_PER_TOKEN, toAmount } from './amount.js';

/**
 * The numbers of one limit as a user writes them. Which of them are given decides what the limit is:
 *
 * | given | means |
 * |---|---|
 * | `duration`, `unit`, `maxRequest` | sliding window: in no interval of that length more than `maxRequest` |
 * | `capacity`, `refill` (`duration`, `unit`) | token bucket: holds `capacity`, gains `refill` per `duration unit` |
 * | `duration`, `unit`, `maxRequest`, `capacity` | token bucket: gains `maxRequest` per `duration unit`, holds `capacity` |
 * | all five | the window and the bucket, both |
 */
export interface LimitNumbers {
  /** How many `unit`s; default 1. */
  duration?: number;
  /** Default seconds. */
  unit?: TimeUnit;
  /** Requests per `duration unit`; a whole number from 1 up. */
  maxRequest?: number;
  /** Most tokens the bucket holds; above 0, at most three decimals. */
  capacity?: number;
  /** Tokens gained per `duration unit`; 0 or more, at most three decimals. With 0 only `put` brings tokens back. */
  refill?: number;
  /** `'greedy'` (default): continuously. `'intervally'`: all at once at each multiple of the period since 1970. */
  refillMode?: 'greedy' | 'intervally';
}

/** One of several limits of a policy. */
export interface NamedLimit extends LimitNumbers {
  /** In `Decision.limits` and headers behind the policy's name; default `window` or `bucket`, numbered if needed. */
  name?: string;
}

export const LIMIT_NUMBERS = ['duration', 'unit', 'maxRequest', 'capacity', 'refill', 'refillMode'] as const;

/**
 * One rule, ready to be counted by. All counts are whole numbers of *units*: an amount (a thousandth of a token)
 * weighs `weight` units, and each `period` ms adds `refill` units. A greedy bucket has a period of 1 ms, and `weight`
 * is what makes `refill` whole: 10 tokens per minute are 10,000 amounts per 60,000 ms, so one amount weighs 6 units
 * and each ms adds 1. Nothing is ever divided before a time is told.
 */
export interface Limit {
  readonly kind: 'bucket' | 'window';
  readonly name: string;
  /** `capacity` or `maxRequest` as the user wrote it. */
  readonly size: number;
  /** The same in units. */
  readonly capacity: number;
  readonly weight: number;
  /** Units per period; 0 for a window. */
  readonly refill: number;
  /** Bucket: ms between refills. Window: its length in ms. */
  readonly period: number;
  /** Window: admissions are kept apart to this many ms; 1 is exact. */
  readonly slot: number;
  /** The longest time from empty to full, in ms. */
  readonly fillTime: number;
}

/** A window up to this size keeps each admission to the millisecond; a larger one to 1/128 of its length. */
export const EXACT_WINDOW = 128;

/** The limits that one set of numbers means: one, or two where all five are given. */
export function parseNumbers(options: LimitNumbers): Limit[] {
  const { maxRequest, capacity, refill, refillMode } = options;
  if (maxRequest === undefined && capacity === undefined && refill === undefined) {
    throw new RateLimitOptionError('`maxRequest`, or `capacity` and `refill`, must be given');
  }
  if (capacity === undefined && refill !== undefined) {
    throw new RateLimitOptionError('`capacity` must be given with `refill`');
  }
  if (capacity !== undefined && refill === undefined && maxRequest === undefined) {
    throw new RateLimitOptionError('`refill` or `maxRequest` must be given with `capacity`');
  }
  if (capacity === undefined && refillMode !== undefined) {
    throw new RateLimitOptionError('`refillMode` must be left out without `capacity`: a window is not refilled');
  }
  const period = parsePeriod(options.duration, options.unit);
  const limits: Limit[] = [];
  if (maxRequest !== undefined) {
    if (!Number.isInteger(maxRequest) || maxRequest <= 0 || maxRequest > Number.MAX_SAFE_INTEGER / 1e6) {
      reject('maxRequest', 'a positive whole number', maxRequest);
    }
    if (capacity === undefined || refill !== undefined) limits.push(window(maxRequest, period));
  }
  if (capacity !== undefined) limits.push(bucket(capacity, refill ?? maxRequest, period, refillMode));
  return limits;
}

/** The limits of a list; each entry may mean two. */
export function parseLimits(list: unknown): Limit[] {
  if (!Array.isArray(list) || list.length === 0) reject('limits', 'a list of at least one limit', list);
  const limits = list.flatMap((entry: NamedLimit, index) => {
    if (typeof entry !== 'object' || entry === null) reject(`limits[${index}]`, 'an object', entry);
    return at(`limits[${index}]`, () => {
      checkNames(entry, [...LIMIT_NUMBERS, 'name']);
      const parsed = parseNumbers(entry);
      if (entry.name === undefined) return parsed;
      const name = checkName(entry.name);
      return parsed.map((limit) => ({ ...limit, name: parsed.length === 1 ? name : `${name}-${limit.kind}` }));
    });
  });
  return numberNames(limits);
}

/** Names are printable ASCII, because they stand in headers. */
export function checkName(name: unknown): string {
  if (typeof name !== 'string' || !/^[\x20-\x7e]{1,128}$/.test(name)) {
    reject('name', 'printable ASCII of 1 to 128 characters', name);
  }
  return name;
}

function window(maxRequest: number, period: number): Limit {
  return {
    kind: 'window',
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

/** 1/128 of a window in whole ms, at least 1. */
export function slotOf(period: number): number {
  return Math.max(1, Math.floor(period / EXACT_WINDOW));
}

function bucket(capacity: unknown, refill: unknown, period: number, mode: unknown = 'greedy'): Limit {
  const amount = toAmount(capacity);
  if (typeof capacity !== 'number' || !(capacity > 0)) reject('capacity', 'a positive number', capacity);
  if (amount === undefined) reject('capacity', 'a number of at most three decimals', capacity);
  const gain = refill === 0 ? 0 : toAmount(refill);
  if (typeof refill !== 'number' || !(refill >= 0)) reject('refill', 'a number from 0 up', refill);
  if (gain === undefined) reject('refill', 'a number of at most three decimals', refill);
  if (mode !== 'greedy' && mode !== 'intervally') reject('refillMode', "'greedy' or 'intervally'", mode);
  const greedy = mode === 'greedy';
  const limit = tokenBucket(capacity, amount, gain, period, greedy);
  const most = mostTokens(limit.weight);
  if (capacity > most)
    reject('capacity', `at most ${most} at this \`refill\`, so that it can be counted exactly`, capacity);
  return limit;
}

/** Most tokens that can be counted exactly: half of what a double can, as the balance may be as far below zero. */
export function mostTokens(weight: number): number {
  return Math.floor(Number.MAX_SAFE_INTEGER / 2 / weight / AMOUNT_PER_TOKEN);
}

/** A token bucket of `amount` that gains `gain` per `period` ms. `size` is `amount` in tokens, at most `mostTokens`. */
export function tokenBucket(size: number, amount: number, gain: number, period: number, greedy: boolean): Limit {
  const divisor = greedy ? greatestCommonDivisor(gain, period) : 1;
  const weight = greedy && gain > 0 ? period / divisor : 1;
  const capacity = amount * weight;
  const units = gain / divisor;
  const step = greedy ? 1 : period;
  return {
    kind: 'bucket',
    name: 'bucket',
    size,
    capacity,
    weight,
    refill: Math.min(units, capacity),
    period: step,
    slot: 1,
    fillTime: gain === 0 ? Infinity : Math.ceil(capacity / units) * step,
  };
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** Two limits of one policy never have one name: the second `bucket` becomes `bucket-2`. */
function numberNames(limits: Limit[]): Limit[] {
  const seen = new Set<string>();
  return limits.map((limit) => {
    let name = limit.name;
    for (let number = 2; seen.has(name); number++) name = `${limit.name}-${number}`;
    seen.add(name);
    return { ...limit, name };
  });
}
