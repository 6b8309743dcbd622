import { REPLACE_STRATEGIES, type ReplaceStrategy } from '../../core/algorithms/algorithm.js';
import { VERBS, type Verb } from '../../core/request.js';

/*
 * The numbers that stand for words in the arguments and replies of the Lua script. Both sides take them from here: the
 * script has them interpolated.
 */

/** Takes the place of `allowed` in a reply: the command reached the server after its deadline. */
export const LATE = -1;
/** Takes the place of `allowed` in a reply: the value of a key is not a bucket. */
export const UNREADABLE = -2;
/** Precedes an amount for each limit of a policy, instead of one amount for all. */
export const PER_LIMIT = -1;

export function verbCode(verb: Verb): number {
  return VERBS.indexOf(verb) + 1;
}

export function strategyCode(strategy: ReplaceStrategy): number {
  return REPLACE_STRATEGIES.indexOf(strategy) + 1;
}

/** A line of Lua that declares a constant for each verb: `local TAKE, TAKE_UP_TO = 1, 4`. */
export const VERB_CONSTANTS = constants('', VERBS, verbCode);

/** The same for the strategies of `replace`: `local STRATEGY_AS_IS = 2`. */
export const STRATEGY_CONSTANTS = constants('STRATEGY_', REPLACE_STRATEGIES, strategyCode);

function constants<T extends string>(prefix: string, words: readonly T[], codeOf: (word: T) => number): string {
  const names = words.map((word) => prefix + word.replace(/-|(?=[A-Z])/g, '_').toUpperCase());
  return `local ${names.join(', ')} = ${words.map(codeOf).join(', ')}`;
}
