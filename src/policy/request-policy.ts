import type { ExecutionContext, Type } from '@nestjs/common';
import { AMOUNT_PER_TOKEN, toAmount } from '../core/amount.js';
import type { Decision } from '../core/decision.js';
import { checkName } from '../core/limit.js';
import { definePolicy, POLICY_OPTIONS, type Policy } from '../core/policy.js';
import type { FailureMode } from '../core/request.js';
import { parseDuration } from '../util/duration.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { checkNames, reject } from '../util/option-error.js';
import type { LimitedResolver, RateLimitOptions, Resolvable, Resolver } from './rate-limit.options.js';

/** Tells the instance of an injectable class. */
export type Instances = <T>(type: Type<Resolver<T>>) => Resolver<T>;

/** Something told of a request; of a refused one by its decision, too. */
export type Tell<T> = (context: ExecutionContext, decision?: Decision) => MaybePromise<T>;

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
  checkMessage(message);
  if (onStoreError !== undefined && !FAILURE_MODES.includes(onStoreError)) {
    reject('onStoreError', `one of ${FAILURE_MODES.join(', ')}`, onStoreError);
  }
  return {
    policy,
    key: parseKey(options.key, defaultKey, instances),
    amount: typeof cost === 'function' ? undefined : parseCost(cost, policy),
    cost: teller('cost', cost, instances),
    skip: parseSkip(options.skip, instances),
    maxWait: maxWait === undefined ? 0 : parseDuration('maxWait', maxWait),
    dryRun,
    settle,
    message,
    onLimited: parseOnLimited(options.onLimited, instances),
    onStoreError,
  };
}

/** A key: text, a function or an injectable class. */
export function parseKey(key: unknown, otherwise: Tell<unknown>, instances: Instances): Tell<unknown> {
  if (key === undefined) return otherwise;
  if ((typeof key === 'string' && key !== '') || typeof key === 'function') {
    return teller('key', key as Resolvable<unknown>, instances);
  }
  return reject('key', 'a text, a function or an injectable class', key);
}

/** Whether to skip: a constant, a function or an injectable class. */
export function parseSkip(skip: unknown, instances: Instances): Tell<unknown> | undefined {
  if (skip === undefined) return undefined;
  if (typeof skip !== 'boolean' && typeof skip !== 'function') {
    reject('skip', 'true, false, a function or an injectable class', skip);
  }
  return teller('skip', skip as Resolvable<unknown>, instances);
}

/** What refusals say: a text, an object or a function. */
export function checkMessage(message: unknown): void {
  if (message === null || !['undefined', 'string', 'object', 'function'].includes(typeof message)) {
    reject('message', 'a text, an object or a function', message);
  }
}

/** What answers instead of a refusal: a function or an injectable class. */
export function parseOnLimited(given: unknown, instances: Instances): LimitedResolver['resolve'] | undefined {
  if (given === undefined) return undefined;
  if (typeof given !== 'function') reject('onLimited', 'a function or an injectable class', given);
  return teller('onLimited', given as Resolvable<unknown>, instances);
}

function parseCost(cost: unknown, policy: Policy): number {
  const amount = costAmount(policy, cost, (rule) => reject('cost', rule, cost));
  const small = policy.limits.find((limit) => amount * limit.weight > limit.capacity);
  if (small) reject('cost', `at most ${small.size}, or no request could ever pass`, cost);
  return amount;
}

/** The amount of a cost; `fail` is told the rule that it breaks. */
export function costAmount(policy: Policy, cost: unknown, fail: (rule: string) => never): number {
  const amount = cost === 0 ? 0 : toAmount(cost);
  if (amount === undefined) return fail('a number from 0 up of at most three decimals');
  if (amount % AMOUNT_PER_TOKEN !== 0 && policy.limits.some(({ kind }) => kind === 'window')) {
    return fail('a whole number for a sliding window, which counts requests');
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
