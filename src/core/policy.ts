import { type Duration, parseDuration } from '../util/duration.js';
import { checkOptionNames, invalidOption, RateLimitOptionError } from '../util/option-error.js';
import type { Limit, Scale } from './algorithms/algorithm.js';
import { isSoft } from './algorithms/soft.js';
import { AMOUNT_PER_TOKEN } from './amount.js';
import {
  checkLimitNames,
  checkName,
  LIMIT_OPTIONS,
  type LimitNumbers,
  type NamedLimit,
  parseLimitOptions,
  parseLimits,
} from './limit.js';
import { LIMIT_SYNONYMS } from './limit-synonyms.js';
import { scalesOf } from './scales.js';

/** The options of a policy: one set of limit options, or several limits that are taken together or not at all. */
export interface LimitOptions extends LimitNumbers {
  /** Scope of the bucket and name in headers; printable ASCII. Policies with the same name and limits share buckets. */
  name?: string;
  /** Any number of limits, instead of the limit options above. */
  limits?: readonly NamedLimit[];
  /** How long a key is denied after its first denial, whatever its balance. Default: not at all. */
  block?: Duration;
  /**
   * With a remote store: how many tokens a process takes at once and then spends without querying the store. A whole
   * number, at most the capacity; only for token buckets with a refill. Default: every request queries the store.
   */
  lease?: number;
}

export const POLICY_OPTIONS = [...LIMIT_OPTIONS, 'name', 'limits', 'block', 'lease'] as const;

/** A named set of limits, frozen. A *bucket* is the state of one policy for one key. */
export interface Policy {
  readonly name: string;
  readonly limits: readonly Limit[];
  /** What each limit is called in answers: the policy's name, followed by the limit's if there are several. */
  readonly labels: readonly string[];
  /** Milliseconds for which a denied key stays denied; 0 for none. */
  readonly block: number;
  /** Thousandths of a token that a process takes at once; 0 for no lease. */
  readonly lease: number;
  /**
   * Name and numbers: state of other numbers is never read. If the numbers are resolved per request, the name and the
   * kinds of its limits: see `scales`.
   */
  readonly id: string;
  /** The index of its concurrency limit; -1 without one. */
  readonly slotIndex: number;
  /** Whether it has a soft limit. */
  readonly hasSoft: boolean;
  /** The numbers that states count in, if other numbers may have been resolved for them (see `scales.ts`). */
  readonly scales: readonly Scale[] | undefined;
  /** Whether it was resolved for a request. */
  readonly isResolved: boolean;
  /** The longest time that any of its limits needs from empty to full, in ms. */
  readonly fillTime: number;
}

/** Validates `options` and returns the frozen policy. Unknown option names are for the caller to check. */
export function definePolicy(
  options: LimitOptions,
  fallbackName: string,
  limits = limitsOf(options),
  isResolved = false,
): Policy {
  const name = options.name === undefined ? fallbackName : checkName(options.name);
  const block = options.block === undefined ? 0 : parseDuration('block', options.block);
  return makePolicy(name, limits, block, parseLease(options.lease, limits), isResolved);
}

/** The same for options that hold nothing else: unknown names are errors. */
export function parsePolicy(options: LimitOptions, fallbackName: string): Policy {
  checkOptionNames(options, POLICY_OPTIONS, LIMIT_SYNONYMS);
  if (options.limits !== undefined) checkLimitNames(options.limits);
  return definePolicy(options, fallbackName);
}

function makePolicy(name: string, limits: readonly Limit[], block: number, lease: number, isResolved: boolean): Policy {
  return Object.freeze({
    name,
    limits: Object.freeze(limits.map((limit) => Object.freeze(limit))),
    labels: Object.freeze(limits.length === 1 ? [name] : limits.map((limit) => `${name}/${limit.name}`)),
    block,
    lease,
    id: isResolved ? `${name}:~${limits.map(structureOf).join('+')}` : `${name}:${limits.map(fingerprintOf).join('+')}`,
    slotIndex: limits.findIndex(({ kind }) => kind === 'concurrency'),
    hasSoft: limits.some(isSoft),
    scales: isResolved && limits.some(({ algorithm }) => algorithm.rescale) ? scalesOf(limits) : undefined,
    isResolved,
    fillTime: Math.max(...limits.map((limit) => limit.fillTime)),
  });
}

function fingerprintOf(limit: Limit): string {
  return limit.algorithm.fingerprint(limit);
}

function structureOf(limit: Limit): string {
  return limit.algorithm.structure?.(limit) ?? fingerprintOf(limit);
}

/** The policy of one limit, whose bucket is in no store. */
export function policyOf(limit: Limit): Policy {
  return makePolicy('', [limit], 0, 0, false);
}

/** The same limits under another name, and so with buckets of their own. */
export function renamePolicy({ limits, block, lease, isResolved }: Policy, name: string): Policy {
  return makePolicy(name, limits, block, lease, isResolved);
}

/** The policy of the same limits divided among `instances`, each still able to admit one request. */
export function dividePolicy(policy: Policy, instances: number): Policy {
  if (instances === 1) return policy;
  const limits = policy.limits.map((limit) => limit.algorithm.divide(limit, instances));
  return makePolicy(policy.name, limits, policy.block, 0, policy.isResolved);
}

/** The limits that the options mean; `parse` returns those of one set. */
export function limitsOf(options: LimitOptions, parse = parseLimitOptions): Limit[] {
  if (options.limits === undefined) return parse(options);
  const mixed = LIMIT_OPTIONS.find((name) => options[name] !== undefined);
  if (mixed) throw new RateLimitOptionError(`\`${mixed}\` must be omitted beside \`limits\``);
  return parseLimits(options.limits, parse);
}

function parseLease(lease: unknown, limits: readonly Limit[]): number {
  if (lease === undefined) return 0;
  if (typeof lease !== 'number' || !Number.isInteger(lease) || lease < 1) {
    invalidOption('lease', 'a positive whole number', lease);
  }
  const unsuitable = limits.find(({ algorithm }) => !algorithm.leasable)?.algorithm;
  if (unsuitable) {
    throw new RateLimitOptionError(`\`lease\` must be omitted for a ${unsuitable.title}, whose tokens cannot be held`);
  }
  if (limits.some(({ fillTime }) => fillTime === Infinity)) {
    const reason = 'what a process holds when it is killed would be missing for good';
    throw new RateLimitOptionError(`\`lease\` must be omitted without a \`refill\`: ${reason}`);
  }
  const least = Math.min(...limits.map((limit) => limit.size));
  if (least > 0 && lease > least) invalidOption('lease', `at most the capacity of ${least}`, lease);
  return lease * AMOUNT_PER_TOKEN;
}
