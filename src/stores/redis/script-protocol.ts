import type { ReplaceStrategy } from '../../core/algorithms/algorithm.js';
import type { Verb } from '../../core/request.js';

/*
 * The numeric codes in the arguments and replies of the Lua script. Both sides take them from here: the script has them
 * interpolated.
 */

export const VERB_CODES: Readonly<Record<Verb, number>> = {
  take: 1,
  estimate: 2,
  charge: 3,
  takeUpTo: 4,
  put: 5,
  cancel: 6,
  reset: 7,
  block: 8,
  unblock: 9,
  replace: 10,
  hold: 11,
};

export const STRATEGY_CODES: Readonly<Record<ReplaceStrategy, number>> = {
  reset: 1,
  'as-is': 2,
  proportionally: 3,
  additive: 4,
};

/** Takes the place of `allowed` in a reply: the command reached the server after its deadline. */
export const LATE = -1;
/** Takes the place of `allowed` in a reply: the value of a key is not a bucket. */
export const UNREADABLE = -2;
/** Takes the place of `allowed` in a reply: the instant that follows is in no period of the calendar that the script has. */
export const UNCOVERED = -3;
/** Precedes the mark of a take, before its amount. */
export const MARKED = -2;
/** Precedes the numbers of a take if those of its policy were resolved for the request. */
export const RESOLVED = -4;
/** Precedes the holder of a take, before its mark and its amount: id, waited, nextWaited, count and sequence. */
export const HELD = -3;
/** Takes the place of a number that a holder does not have. */
export const ABSENT = -1;
/** Precedes an amount for each limit of a policy, instead of one amount for all. */
export const PER_LIMIT = -1;
/** Takes the place of an amount of 0 for a limit that is checked nevertheless. */
export const CHECKED = -1;

/** A line of Lua that declares a constant for each code: `local TAKE, TAKE_UP_TO = 1, 4`. */
export function declareConstants(codes: Readonly<Record<string, number>>, prefix = ''): string {
  const names = Object.keys(codes).map((word) => prefix + word.replace(/-|(?=[A-Z])/g, '_').toUpperCase());
  return `local ${names.join(', ')} = ${Object.values(codes).join(', ')}`;
}
