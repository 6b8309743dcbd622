import { invalidOption } from '../util/option-error.js';
import { toAmount, tokenRule } from './amount.js';

/** The rule of amounts in options. */
export const DECIMALS = 'a number with at most three decimals';

/** The admissions of a window, and as many that `charge` adds, are counted exactly. */
const MOST_REQUESTS = Math.floor(Number.MAX_SAFE_INTEGER / 1e6);

/** Checks the number of requests that an option allows. */
export function checkCount(option: string, count: unknown): asserts count is number {
  if (typeof count !== 'number' || !Number.isInteger(count) || count <= 0)
    invalidOption(option, 'a positive whole number', count);
  if (count > MOST_REQUESTS) invalidOption(option, `at most ${MOST_REQUESTS}`, count);
}

/** The amount of a capacity. */
export function parseCapacity(capacity: unknown): number {
  const amount = toAmount(capacity);
  if (typeof capacity !== 'number' || !(capacity > 0)) invalidOption('capacity', 'a positive number', capacity);
  return amount ?? invalidOption('capacity', tokenRule(capacity, DECIMALS), capacity);
}
