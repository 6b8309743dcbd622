import { inspect } from 'node:util';
import { brand } from './brand.js';
import { nearest } from './nearest.js';

/**
 * An invalid option, found when it is defined: at start-up, or when `BucketService.bucket` is called. The message names
 * the place, the option, the rule and the value.
 */
export class RateLimitOptionError extends Error {
  static {
    brand(this, 'RateLimitOptionError');
  }

  override readonly name = 'RateLimitOptionError';
}

/** Runs `parse`, and puts `place` before its option errors, and `fix` behind: `Invalid @RateLimit on Sms.send: …`. */
export function withErrorPrefix<T>(place: string, parse: () => T, fix = ''): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof RateLimitOptionError) throw new RateLimitOptionError(`${place}: ${error.message}${fix}`);
    throw error;
  }
}

/** Throws `` `option` must be <rule>, got <value> ``. */
export function invalidOption(option: string, rule: string, value: unknown): never {
  const fix = NUMBER_RULE.test(rule) && isNumeric(value) ? '. Convert strings by Number()' : '';
  throw new RateLimitOptionError(`\`${option}\` must be ${rule}, got ${formatValue(value)}${fix}`);
}

/** A rule that each number in a string might satisfy. */
const NUMBER_RULE = /^a (positive )?(whole )?number\b(?!.*at most)/;

/** Whether a value is a number as a string, such as one of an environment variable. */
function isNumeric(value: unknown): boolean {
  return typeof value === 'string' && value.trim() !== '' && !Number.isNaN(Number(value));
}

/** The same for a value that may contain a password: strings and arrays are described, not shown. */
export function invalidSecretOption(option: string, rule: string, value: unknown): never {
  let shown = formatValue(value);
  if (typeof value === 'string') shown = `a string of ${value.length} characters`;
  else if (Array.isArray(value)) shown = `an array of ${value.length}`;
  throw new RateLimitOptionError(`\`${option}\` must be ${rule}, got ${shown}`);
}

/**
 * Throws unless every key of `options` is one of `known`. `synonyms` maps names that other libraries use to what they
 * are called here.
 */
export function checkOptionNames(
  options: object,
  known: readonly string[],
  synonyms: Readonly<Record<string, string>> = {},
): void {
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const similar = nearest(name, known);
    const meant = Object.hasOwn(synonyms, name) ? synonyms[name] : similar && `\`${similar}\``;
    const hint = meant ? `. Did you mean ${meant}?` : `; known options are ${known.join(', ')}`;
    throw new RateLimitOptionError(`unknown option \`${name}\`${hint}`);
  }
}

/** Throws because no policy in `policies` has this name. */
export function unknownPolicy(name: string, known: Iterable<string>): never {
  const names = [...known];
  const similar = nearest(name, names);
  const rest = names.length > 0 ? `; \`policies\` has ${names.join(', ')}` : '; `policies` is empty';
  const hint = similar === undefined ? rest : `. Did you mean ${formatValue(similar)}?`;
  throw new RateLimitOptionError(`unknown policy ${formatValue(name)}${hint}`);
}

const LONGEST_STRING = 60;
const MOST_ELEMENTS = 5;

/**
 * A value as it appears in an error message: one short line, without the values of an object, which may be secret. Values
 * may come from clients: strings are quoted and cut, and none of their own properties or methods is used.
 */
export function formatValue(value: unknown): string {
  if (typeof value === 'string') {
    return inspect(value.length > LONGEST_STRING ? `${value.slice(0, LONGEST_STRING)}…` : value);
  }
  if (typeof value === 'function') return `${isClass(value) ? 'class' : 'function'} ${value.name || '(anonymous)'}`;
  if (Array.isArray(value)) return `[${shorten(value, (one) => (Array.isArray(one) ? '[…]' : formatValue(one)))}]`;
  if (typeof value !== 'object' || value === null) return String(value);
  const type = Object.getPrototypeOf(value)?.constructor?.name;
  if (type !== undefined && type !== 'Object') return `an instance of ${type}`;
  const names = Object.keys(value);
  if (names.length === 0) return '{}';
  return `{ ${shorten(names, (name) => (/^[\w$]{1,30}$/.test(name) ? name : formatValue(name)))} }`;
}

const LONGEST_ERROR = 200;

/**
 * Whatever the user's code threw, as it appears in the log: one short line. The message of an error may contain what a
 * client sent, as that of `JSON.parse` does.
 */
export function formatError(error: unknown): string {
  if (!(error instanceof Error)) return formatValue(error);
  const text = `${error.name}: ${error.message}`;
  const line = text.replace(/[\p{Cc}\u2028\u2029]/gu, escaped);
  return line.length > LONGEST_ERROR ? `${line.slice(0, LONGEST_ERROR)}…` : line;
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** Whether a function was written as a class. */
export function isClass(value: unknown): boolean {
  return typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value));
}

function shorten<T>(items: readonly T[], format: (item: T) => string): string {
  const shown = items.slice(0, MOST_ELEMENTS).map(format);
  return (items.length > MOST_ELEMENTS ? [...shown, '…'] : shown).join(', ');
}
