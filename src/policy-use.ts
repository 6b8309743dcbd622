import { type ExecutionContext, Logger, type Type } from '@nestjs/common';
import type { Decision } from './core/decision.js';
import { parseDuration } from './core/duration.js';
import { checkName } from './core/limit.js';
import { chain, isPromise, type MaybePromise } from './core/maybe-promise.js';
import { checkNames, RateLimitOptionError, reject, show } from './core/option-error.js';
import { definePolicy, POLICY_OPTIONS, type Policy } from './core/policy.js';
import type { FailureMode, Take } from './core/request.js';
import { AMOUNT_PER_TOKEN, toAmount } from './core/tokens.js';
import { boundKey } from './key.js';
import type { LimitedResolver, RateLimitOptions, Resolvable, Resolver } from './rate-limit.options.js';
import { NO_CLIENT } from './transport/client-key.js';

/** Tells the instance of an injectable class. */
export type Instances = <T>(type: Type<Resolver<T>>) => Resolver<T>;

/** Something told of a request; of a refused one by its decision, too. */
type Tell<T> = (context: ExecutionContext, decision?: Decision) => MaybePromise<T>;

/** A policy as one handler uses it: its options, parsed once. */
export interface PolicyUse {
  readonly policy: Policy;
  readonly key: Tell<unknown>;
  /** Thousandths of a token; `undefined` where it is told per request. */
  readonly amount: number | undefined;
  readonly cost: Tell<unknown>;
  readonly skip: Tell<unknown> | undefined;
  readonly maxWait: number;
  readonly dryRun: boolean;
  readonly settle: RateLimitOptions['settle'];
  readonly message: RateLimitOptions['message'];
  readonly onLimited: LimitedResolver['resolve'] | undefined;
  readonly onStoreError: FailureMode | undefined;
}

/** A take of a request that knows the use it comes from. */
export interface PlannedTake extends Take {
  readonly use: PolicyUse;
}

export const FAILURE_MODES: readonly FailureMode[] = ['local', 'open', 'closed'];
const USE_OPTIONS = [
  ...POLICY_OPTIONS,
  'key',
  'cost',
  'skip',
  'maxWait',
  'settle',
  'dryRun',
  'message',
  'onLimited',
  'onStoreError',
  'perHandler',
];

/** Parses the options of one policy; `name` is what it is called without a name of its own. */
export function parseUse(
  options: RateLimitOptions,
  name: string,
  defaultKey: Tell<unknown>,
  instances: Instances,
): PolicyUse {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    reject('options', 'an object', options);
  }
  checkNames(options, USE_OPTIONS);
  if (options.name === undefined) checkName(name);
  const { cost = 1, maxWait, dryRun = false, settle, message, onStoreError, perHandler = false } = options;
  const policy = definePolicy(options, name);
  if (typeof dryRun !== 'boolean') reject('dryRun', 'true or false', dryRun);
  if (typeof perHandler !== 'boolean') reject('perHandler', 'true or false', perHandler);
  if (settle !== undefined && settle !== 'failures' && settle !== 'successes' && typeof settle !== 'function') {
    reject('settle', "'failures', 'successes' or a function", settle);
  }
  if (message === null || !['undefined', 'string', 'object', 'function'].includes(typeof message)) {
    reject('message', 'a text, an object or a function', message);
  }
  if (onStoreError !== undefined && !FAILURE_MODES.includes(onStoreError)) {
    reject('onStoreError', `one of ${FAILURE_MODES.join(', ')}`, onStoreError);
  }
  return {
    policy,
    key: options.key === undefined ? defaultKey : parseKey('key', options.key, instances),
    amount: typeof cost === 'function' ? undefined : parseCost(cost, policy),
    cost: teller('cost', cost, instances),
    skip: options.skip === undefined ? undefined : parseSkip(options.skip, instances),
    maxWait: maxWait === undefined ? 0 : parseDuration('maxWait', maxWait),
    dryRun,
    settle,
    message,
    onLimited: parseOnLimited(options.onLimited, instances),
    onStoreError,
  };
}

/** A key: text, a function or an injectable class. */
export function parseKey(option: string, key: unknown, instances: Instances): Tell<unknown> {
  if ((typeof key === 'string' && key !== '') || typeof key === 'function') {
    return teller(option, key as Resolvable<unknown>, instances);
  }
  return reject(option, 'a text, a function or an injectable class', key);
}

/** Whether to skip: a constant, a function or an injectable class. */
export function parseSkip(skip: unknown, instances: Instances): Tell<unknown> {
  if (typeof skip !== 'boolean' && typeof skip !== 'function') {
    reject('skip', 'true, false, a function or an injectable class', skip);
  }
  return teller('skip', skip as Resolvable<unknown>, instances);
}

/** What answers instead of a refusal: a function or an injectable class. */
export function parseOnLimited(given: unknown, instances: Instances): LimitedResolver['resolve'] | undefined {
  if (given === undefined) return undefined;
  if (typeof given !== 'function') reject('onLimited', 'a function or an injectable class', given);
  return teller('onLimited', given as Resolvable<unknown>, instances);
}

function parseCost(cost: unknown, policy: Policy): number {
  const amount = cost === 0 ? 0 : toAmount(cost);
  if (amount === undefined) reject('cost', 'a number from 0 up of at most three decimals', cost);
  for (const limit of policy.limits) {
    if (amount * limit.weight > limit.capacity) {
      throw new RateLimitOptionError(
        `\`cost\` must be at most ${limit.size}, or no request could ever pass, got ${show(cost)}`,
      );
    }
    if (limit.kind === 'window' && amount % AMOUNT_PER_TOKEN !== 0) {
      reject('cost', 'a whole number for a sliding window, which counts requests', cost);
    }
  }
  return amount;
}

/** A constant, a function or an injectable class as a function. */
export function teller<T>(option: string, value: Resolvable<T>, instances: Instances): Tell<T> {
  if (typeof value !== 'function') return () => value;
  if (!isResolver(value)) {
    if (/^class\b/.test(Function.prototype.toString.call(value))) {
      reject(option, 'a function or a class with `resolve`', value);
    }
    return value as Tell<T>;
  }
  let instance: { resolve: Tell<T> } | undefined;
  return (context, decision) => {
    instance ??= instances(value as Type<Resolver<T>>);
    return instance.resolve(context, decision);
  };
}

/** Whether a function is an injectable class with `resolve`. */
export function isResolver(value: unknown): value is Type<Resolver<unknown>> {
  return typeof value === 'function' && typeof value.prototype?.resolve === 'function';
}

/** What one request takes of a policy; `undefined` if it is skipped. */
export function takeOf(use: PolicyUse, context: ExecutionContext): MaybePromise<PlannedTake | undefined> {
  if (!use.dryRun) return takeUnlessSkipped(use, context);
  // The client sees nothing of a policy on trial, nor of what is wrong with it.
  try {
    const take = takeUnlessSkipped(use, context);
    return isPromise(take) ? take.catch((error) => warnOnce(use, onTrial(use.policy, error))) : take;
  } catch (error) {
    return warnOnce(use, onTrial(use.policy, error));
  }
}

const logger = new Logger('RateLimit');
const warned = new WeakSet<PolicyUse>();

function warnOnce(use: PolicyUse, warning: string): undefined {
  if (!warned.has(use)) logger.warn(warning);
  warned.add(use);
}

function onTrial({ name }: Policy, error: unknown): string {
  return `Policy ${name}, which is on trial, could not be asked: ${error}`;
}

function withoutClient({ name }: Policy): string {
  return `Policy ${name} does not apply to requests whose client has no address: give it a \`key\``;
}

function takeUnlessSkipped(use: PolicyUse, context: ExecutionContext): MaybePromise<PlannedTake | undefined> {
  if (!use.skip) return takeUnlessFree(use, context);
  return chain(use.skip(context), (skip) => (skip ? undefined : takeUnlessFree(use, context)));
}

function takeUnlessFree(use: PolicyUse, context: ExecutionContext): MaybePromise<PlannedTake | undefined> {
  return chain(use.amount ?? chain(use.cost(context), (cost) => amountTold('cost', use.policy, cost)), (amount) =>
    amount === 0 ? undefined : chain(use.key(context), (key) => plannedTake(use, key, amount)),
  );
}

/** `undefined` where nothing tells whose bucket it would be: the policy does not apply there. */
export function plannedTake(use: PolicyUse, key: unknown, amount: number): PlannedTake | undefined {
  const { policy, maxWait, onStoreError } = use;
  if (key === NO_CLIENT) return warnOnce(use, withoutClient(policy));
  return { policy, key: checkKey(policy, key), amount, maxWait, onStoreError, use };
}

/** A resolver gave what cannot be used; the request's error, not a refusal. */
export class RateLimitResolverError extends Error {
  override readonly name = 'RateLimitResolverError';
}

function checkKey(policy: Policy, key: unknown): string {
  if (typeof key === 'string' && key !== '') return boundKey(key);
  throw new RateLimitResolverError(
    `The key of policy ${policy.name} must be a text of at least one character, got ${show(key)}`,
  );
}

/** The amount of a cost that was told at run time. */
export function amountTold(what: string, policy: Policy, cost: unknown): number {
  const amount = cost === 0 ? 0 : toAmount(cost);
  const fail = (rule: string) => {
    throw new RateLimitResolverError(`The ${what} of policy ${policy.name} must be ${rule}, got ${show(cost)}`);
  };
  if (amount === undefined) return fail('a number from 0 up of at most three decimals');
  if (amount % AMOUNT_PER_TOKEN !== 0 && policy.limits.some(({ kind }) => kind === 'window')) {
    return fail('a whole number for a sliding window, which counts requests');
  }
  return amount;
}
