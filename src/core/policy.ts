import { type Duration, parseDuration } from '../util/duration.js';
import { checkNames, RateLimitOptionError, reject } from '../util/option-error.js';
import { AMOUNT_PER_TOKEN } from './amount.js';
import {
  checkName,
  LIMIT_NUMBERS,
  type Limit,
  type LimitNumbers,
  type NamedLimit,
  parseLimits,
  parseNumbers,
} from './limit.js';

/** What a policy is made of: one set of numbers, or several limits that are taken together or not at all. */
export interface LimitOptions extends LimitNumbers {
  /** Scope of the bucket and name in headers; printable ASCII. Two policies of one name and the same numbers share. */
  name?: string;
  /** Any number of limits, instead of the numbers above. */
  limits?: readonly NamedLimit[];
  /** The first refusal of a key starts a time in which it is refused whatever its balance. Default: none. */
  block?: Duration;
  /**
   * With a store that is far away: a process takes up to so many tokens at once and spends them by itself. Whole
   * tokens, at most the capacity; not for a sliding window. Default: each is asked for.
   */
  lease?: number;
}

export const POLICY_OPTIONS = [...LIMIT_NUMBERS, 'name', 'limits', 'block', 'lease'] as const;

/** A named set of limits, frozen. A *bucket* is the state of one policy for one key. */
export interface Policy {
  readonly name: string;
  readonly limits: readonly Limit[];
  /** What each limit is called in answers: the policy's name, and the limit's where there are several. */
  readonly labels: readonly string[];
  /** Milliseconds that a refused key stays refused; 0 for none. */
  readonly block: number;
  /** Thousandths of a token that a process takes at once; 0 for no lease. */
  readonly lease: number;
  /** Name and numbers: state of other numbers is never read. */
  readonly id: string;
  /** The longest time any of its limits needs from empty to full, in ms. */
  readonly fillTime: number;
}

/** Validates `options` and freezes what they mean. Unknown names are the caller's to check. */
export function definePolicy(options: LimitOptions, fallbackName: string): Policy {
  const name = options.name === undefined ? fallbackName : checkName(options.name);
  const limits = limitsOf(options);
  const block = options.block === undefined ? 0 : parseDuration('block', options.block);
  return makePolicy(name, limits, block, parseLease(options.lease, limits));
}

/** The same, for options that hold nothing else. */
export function parsePolicy(options: LimitOptions, fallbackName: string): Policy {
  checkNames(options, POLICY_OPTIONS);
  return definePolicy(options, fallbackName);
}

/** A policy of ready limits. */
function makePolicy(name: string, limits: readonly Limit[], block: number, lease: number): Policy {
  return Object.freeze({
    name,
    limits: Object.freeze(limits.map((limit) => Object.freeze(limit))),
    labels: Object.freeze(limits.length === 1 ? [name] : limits.map((limit) => `${name}/${limit.name}`)),
    block,
    lease,
    id: `${name}:${limits.map(fingerprint).join('+')}`,
    fillTime: Math.max(...limits.map((limit) => limit.fillTime)),
  });
}

/** The policy of the same limits divided among `instances`, each still able to admit one request. */
export function dividePolicy(policy: Policy, instances: number): Policy {
  if (instances === 1) return policy;
  const limits = policy.limits.map((limit) => {
    const size = Math.max(limit.size / instances, Math.min(limit.size, 1));
    const whole = limit.kind === 'window' ? Math.floor(size) : Math.floor(size * 1000) / 1000;
    // The refill is divided by giving each unit more weight, not by rounding it.
    const weight = limit.kind === 'window' ? 1 : limit.weight * instances;
    const capacity = Math.round(whole * AMOUNT_PER_TOKEN) * weight;
    const steps = limit.refill === 0 ? Infinity : Math.ceil(capacity / limit.refill);
    return {
      ...limit,
      size: whole,
      weight,
      capacity,
      fillTime: limit.kind === 'window' ? limit.fillTime : steps * limit.period,
    };
  });
  return makePolicy(policy.name, limits, policy.block, 0);
}

function limitsOf(options: LimitOptions): Limit[] {
  if (options.limits === undefined) return parseNumbers(options);
  const mixed = LIMIT_NUMBERS.find((name) => options[name] !== undefined);
  if (mixed) throw new RateLimitOptionError(`\`${mixed}\` must be left out beside \`limits\``);
  return parseLimits(options.limits);
}

function parseLease(lease: unknown, limits: readonly Limit[]): number {
  if (lease === undefined) return 0;
  if (typeof lease !== 'number' || !Number.isInteger(lease) || lease < 1) {
    reject('lease', 'a positive whole number', lease);
  }
  if (limits.some((limit) => limit.kind === 'window')) {
    throw new RateLimitOptionError('`lease` must be left out for a sliding window, where tokens cannot be held');
  }
  const least = Math.min(...limits.map((limit) => limit.size));
  if (lease > least) reject('lease', `at most the capacity of ${least}`, lease);
  return lease * AMOUNT_PER_TOKEN;
}

/** A limit's numbers in a few characters: `b20:1/6`, `b5:5/1@1000`, `w100/60000`. Part of a bucket's name in Redis. */
function fingerprint(limit: Limit): string {
  if (limit.kind === 'window') return `w${limit.size}/${limit.period}`;
  const boundaries = limit.period === 1 ? '' : `@${limit.period}`;
  return `b${limit.size}:${limit.refill}/${limit.weight}${boundaries}`;
}
