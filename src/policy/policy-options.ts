import type { Type } from '@nestjs/common';
import type { Limit } from '../core/algorithms/algorithm.js';
import { isSoft } from '../core/algorithms/soft.js';
import { toCostAmount, tokenRule } from '../core/amount.js';
import { NAMED_LIMIT_OPTIONS } from '../core/limit.js';
import { LIMIT_SYNONYMS } from '../core/limit-synonyms.js';
import { POLICY_OPTIONS, type Policy } from '../core/policy.js';
import { FAILURE_MODES, type FailureMode } from '../core/request.js';
import { parseDuration } from '../util/duration.js';
import { invalidOption, RateLimitOptionError } from '../util/option-error.js';
import type { LimitedResolver, RateLimitOptions, Resolvable, Resolver, SettleOption } from './rate-limit.options.js';
import { isResolver, type ResolveFn, type ResolverLookup, toResolveFn } from './resolvable.js';

/** What the parsers of options need to know. */
export interface OptionContext {
  readonly policy: Policy;
  /** The limits that a `cost` applies to. */
  readonly limits: readonly Limit[];
  readonly defaultKey: ResolveFn<unknown>;
  readonly resolvers: ResolverLookup;
  /** Whether the policy limits calls of methods, and not requests. */
  readonly isOfCalls: boolean;
}

interface PolicyOption {
  /** Validates the option; `undefined` if it was omitted. */
  parse(value: unknown, context: OptionContext): unknown;
  /** Whether it may be an injectable class. */
  readonly resolvable?: true;
}

/** The options of one policy that are not about its limits: a new one is an entry here. */
export const REQUEST_OPTIONS = {
  key: {
    resolvable: true,
    parse: (value: unknown, { defaultKey, resolvers }: OptionContext) => parseKey(value, defaultKey, resolvers),
  },
  cost: { resolvable: true, parse: parseCost },
  skip: { resolvable: true, parse: (value: unknown, { resolvers }: OptionContext) => parseSkip(value, resolvers) },
  maxWait: { parse: parseMaxWait },
  maxHold: { parse: parseMaxHold },
  settle: { parse: parseSettle },
  dryRun: { parse: (value: unknown) => parseFlag('dryRun', value, false) },
  message: { parse: parseMessage },
  onLimited: {
    resolvable: true,
    parse: (value: unknown, { resolvers }: OptionContext) => parseOnLimited(value, resolvers),
  },
  onStoreError: {
    parse: (value: unknown) => (value === undefined ? undefined : parseFailureMode('onStoreError', value)),
  },
  perHandler: { parse: (value: unknown) => parseFlag('perHandler', value, false) },
} satisfies Record<string, PolicyOption>;

type RequestOptionName = keyof typeof REQUEST_OPTIONS;
const REQUEST_OPTION_NAMES = Object.keys(REQUEST_OPTIONS) as RequestOptionName[];

/** The parsed values of `REQUEST_OPTIONS`. */
export type ParsedRequestOptions = {
  readonly [Name in RequestOptionName]: ReturnType<(typeof REQUEST_OPTIONS)[Name]['parse']>;
};

/** The names of all options of `@RateLimit`. */
export const OPTION_NAMES: readonly string[] = [...POLICY_OPTIONS, ...REQUEST_OPTION_NAMES];

/** The names of all options of an entry of `limits`. */
export const REQUEST_LIMIT_OPTIONS: readonly string[] = [...NAMED_LIMIT_OPTIONS, 'cost', 'settle'];

/** What the options of other rate limiters are called here. */
export const OPTION_SYNONYMS: Readonly<Record<string, string>> = {
  ...LIMIT_SYNONYMS,
  keyGenerator: '`key`',
  getTracker: '`key`',
  keyPrefix: '`name`',
  skipIf: '`skip`',
  blockDuration: '`block`',
  errorMessage: '`message`',
  handler: '`onLimited`',
  skipSuccessfulRequests: "`settle: 'failures'`",
  skipFailedRequests: "`settle: 'successes'`",
};

/** Parses the options of one policy that are not about its limits. */
export function parseRequestOptions(options: RateLimitOptions, context: OptionContext): ParsedRequestOptions {
  const parsed: Record<string, unknown> = {};
  for (const name of REQUEST_OPTION_NAMES) parsed[name] = REQUEST_OPTIONS[name].parse(options[name], context);
  return parsed as ParsedRequestOptions;
}

/** The injectable classes among the options of a policy, or of the module, with the names of the options. */
export function resolversIn(options: object): [option: string, type: Type<Resolver<unknown>>][] {
  const { limits, ...others } = options as RateLimitOptions;
  const values = REQUEST_OPTION_NAMES.filter((name) => 'resolvable' in REQUEST_OPTIONS[name]).map(
    (name): [string, unknown] => [name, others[name]],
  );
  if (Array.isArray(limits)) {
    values.push(...limits.map((entry, i): [string, unknown] => [`limits[${i}].cost`, entry?.cost]));
  }
  return values.filter((value): value is [string, Type<Resolver<unknown>>] => isResolver(value[1]));
}

/** A key: a string, a function or an injectable class. */
export function parseKey(key: unknown, fallback: ResolveFn<unknown>, resolvers: ResolverLookup): ResolveFn<unknown> {
  if (key === undefined) return fallback;
  if ((typeof key === 'string' && key !== '') || typeof key === 'function') {
    return toResolveFn('key', key as Resolvable<unknown>, resolvers);
  }
  return invalidOption('key', 'a non-empty string, a function or an injectable class', key);
}

/** Whether to skip: a constant, a function or an injectable class. */
export function parseSkip(skip: unknown, resolvers: ResolverLookup): ResolveFn<unknown> | undefined {
  if (skip === undefined) return undefined;
  if (typeof skip !== 'boolean' && typeof skip !== 'function') {
    invalidOption('skip', 'true, false, a function or an injectable class', skip);
  }
  return toResolveFn('skip', skip as Resolvable<unknown>, resolvers);
}

/** What rejections contain: a string, an object or a function. */
export function parseMessage(message: unknown): RateLimitOptions['message'] {
  if (message === null || !['undefined', 'string', 'object', 'function'].includes(typeof message)) {
    invalidOption('message', 'a string, an object or a function', message);
  }
  return message as RateLimitOptions['message'];
}

/** Answers instead of a rejection: a function or an injectable class. */
export function parseOnLimited(value: unknown, resolvers: ResolverLookup): LimitedResolver['resolve'] | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'function') invalidOption('onLimited', 'a function or an injectable class', value);
  return toResolveFn('onLimited', value as Resolvable<unknown>, resolvers);
}

export function parseFlag(option: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  return typeof value === 'boolean' ? value : invalidOption(option, 'true or false', value);
}

export function parseFailureMode(option: string, value: unknown): FailureMode {
  const mode = FAILURE_MODES.find((known) => known === value);
  return mode ?? invalidOption(option, `one of ${FAILURE_MODES.join(', ')}`, value);
}

/** Milliseconds; `Infinity` only for calls of methods, because no client waits forever. */
function parseMaxWait(maxWait: unknown, { isOfCalls }: OptionContext): number {
  if (maxWait === undefined) return 0;
  return isOfCalls && maxWait === Infinity ? Infinity : parseDuration('maxWait', maxWait);
}

/** Milliseconds. */
function parseMaxHold(maxHold: unknown, { policy }: OptionContext): number | undefined {
  if (maxHold === undefined) return undefined;
  if (policy.limits.length > 0 && policy.slotIndex < 0) {
    throw new RateLimitOptionError('`maxHold` must be omitted without `concurrency`: no slot is held');
  }
  return parseDuration('maxHold', maxHold);
}

/** A constant cost in thousandths of a token, or a function that returns it in tokens. */
export function parseCost(given: unknown, { policy, limits, resolvers }: OptionContext): number | ResolveFn<unknown> {
  if (given !== undefined) checkCosts('cost', policy);
  const cost = given === undefined ? 1 : given;
  if (typeof cost === 'function') return toResolveFn('cost', cost as Type<Resolver<unknown>>, resolvers);
  const amount = toCostAmount(cost) ?? invalidOption('cost', costRule(cost), cost);
  const small = limits.find(
    (limit) =>
      limit.kind !== 'concurrency' && !isSoft(limit) && limit.size > 0 && amount * limit.weight > limit.capacity,
  );
  if (small) invalidOption('cost', `at most ${small.size}, otherwise no request could be allowed`, cost);
  return amount;
}

/** The rule that a cost without an amount breaks. */
export function costRule(cost: unknown): string {
  return tokenRule(cost, 'a number of at least 0');
}

/** Costs apply to all limits but those of concurrency. */
function checkCosts(option: string, { limits }: Policy): void {
  if (limits.length === 0 || limits.some(({ kind }) => kind !== 'concurrency')) return;
  throw new RateLimitOptionError(
    `\`${option}\` must be omitted for a concurrency limit alone: a request takes one slot`,
  );
}

export function parseSettle(settle: unknown, { policy }: OptionContext): SettleOption | undefined {
  if (settle !== undefined) checkCosts('settle', policy);
  if (settle !== undefined && settle !== 'failures' && settle !== 'successes' && typeof settle !== 'function') {
    invalidOption('settle', "'failures', 'successes' or a function", settle);
  }
  return settle as SettleOption | undefined;
}
