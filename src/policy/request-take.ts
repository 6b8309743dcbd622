import type { ExecutionContext } from '@nestjs/common';
import { toCostAmount } from '../core/amount.js';
import type { Decision } from '../core/decision.js';
import type { Policy } from '../core/policy.js';
import type { Amounts, Take } from '../core/request.js';
import { RateLimitResolverError } from '../exceptions/rate-limit-resolver.error.js';
import { NO_CLIENT } from '../keys/client-key.js';
import { invalidKey } from '../keys/key.js';
import { warnOfKeyWithoutUser } from '../keys/missing-user-warning.js';
import { warnOnce } from '../observe/logger.js';
import { boundKey, toKey } from '../util/bounded-key.js';
import { chain, isPromise, type MaybePromise, resolveEach } from '../util/maybe-promise.js';
import { formatError, formatValue } from '../util/option-error.js';
import type { LimitCost } from './limit-costs.js';
import { costRule } from './policy-options.js';
import type { RateLimitOptions } from './rate-limit.options.js';
import type { RequestPolicy } from './request-policy.js';

/** A take, and the handler's policy that it belongs to. */
export interface RequestTake extends Take {
  readonly requestPolicy: RequestPolicy;
}

/** Resolves `skip`, `cost` and `key`, in this order, to the take of one policy; `undefined` if nothing is taken. */
export function resolveTake(
  requestPolicy: RequestPolicy,
  context: ExecutionContext,
): MaybePromise<RequestTake | undefined> {
  if (!requestPolicy.dryRun) return takeUnlessSkipped(requestPolicy, context);
  // A dry run must not fail a request.
  const { policy } = requestPolicy;
  try {
    const take = takeUnlessSkipped(requestPolicy, context);
    return isPromise(take) ? take.catch((error) => warnOfDryRun(policy, error)) : take;
  } catch (error) {
    return warnOfDryRun(policy, error);
  }
}

function warnOfDryRun({ name }: Policy, error: unknown): undefined {
  warnOnce.about(`dry run of ${name}`, `[dry run] Policy ${name} could not be evaluated: ${formatError(error)}`);
}

function takeUnlessSkipped(
  requestPolicy: RequestPolicy,
  context: ExecutionContext,
): MaybePromise<RequestTake | undefined> {
  const { skip } = requestPolicy;
  if (!skip) return takeUnlessFree(requestPolicy, context);
  return chain(skip(context), (skipped) => (skipped ? undefined : takeUnlessFree(requestPolicy, context)));
}

function takeUnlessFree(
  requestPolicy: RequestPolicy,
  context: ExecutionContext,
): MaybePromise<RequestTake | undefined> {
  const { cost, policy, hasOwnCosts } = requestPolicy;
  if (hasOwnCosts) return takeFromEach(requestPolicy, context);
  if (typeof cost === 'number') return takeAmount(requestPolicy, context, cost);
  return chain(cost(context), (resolved) =>
    takeAmount(requestPolicy, context, resolvedAmount('cost', policy.name, resolved)),
  );
}

function takeAmount(
  requestPolicy: RequestPolicy,
  context: ExecutionContext,
  amount: number,
): MaybePromise<RequestTake | undefined> {
  if (amount === 0) return takeAmounts(requestPolicy, context, new Array(requestPolicy.costs.length).fill(0));
  return chain(requestPolicy.key(context), (key) => toTake(requestPolicy, key, amount));
}

/** Resolves the cost of each limit; that of several limits once. */
function takeFromEach(requestPolicy: RequestPolicy, context: ExecutionContext): MaybePromise<RequestTake | undefined> {
  const { costs, policy } = requestPolicy;
  const resolved = new Map<LimitCost['cost'], MaybePromise<number>>();
  const amounts = resolveEach(costs, ({ cost }, i) => {
    if (typeof cost === 'number') return cost;
    let amount = resolved.get(cost);
    amount ??= chain(cost(context), (tokens) => resolvedAmount('cost', policy.labels[i], tokens));
    resolved.set(cost, amount);
    return amount;
  });
  return chain(amounts, (all) => takeAmounts(requestPolicy, context, all));
}

function takeAmounts(
  requestPolicy: RequestPolicy,
  context: ExecutionContext,
  amounts: readonly number[],
): MaybePromise<RequestTake | undefined> {
  const taken = toAmounts(requestPolicy, amounts);
  if (!taken) return undefined;
  return chain(requestPolicy.key(context), (key) => {
    const take = toTake(requestPolicy, key, taken.amount);
    return take && { ...take, ...taken };
  });
}

/** `undefined` if the policy does not apply: it takes nothing from any limit, and settles none. */
function toAmounts({ costs, isReported }: RequestPolicy, amounts: readonly number[]): Amounts | undefined {
  const amount = Math.max(...amounts);
  const checks = amounts.map((one, i) => one === 0 && (isReported || costs[i].settle !== undefined));
  if (checks.includes(true)) return { amount, amounts, checks };
  return amount === 0 ? undefined : { amount, amounts };
}

/** The take of a resolved key; `undefined` if the request has no client address, so the policy does not apply. */
export function toTake(requestPolicy: RequestPolicy, key: unknown, amount: number): RequestTake | undefined {
  const { policy, maxWait, onStoreError } = requestPolicy;
  if (key === NO_CLIENT) return warnOfNoClient(policy);
  const mark = requestPolicy.isSettled ? newMark(requestPolicy) : undefined;
  return { policy, key: checkKey(requestPolicy, key), amount, maxWait, mark, onStoreError, requestPolicy };
}

function warnOfNoClient({ name }: Policy): undefined {
  const fix = 'set its `key` to a function that identifies their sender';
  warnOnce.about(name, `Policy ${name} does not apply to requests without a client address: ${fix}`);
}

/**
 * The mark of a take that is going to be settled: one of 2^53 numbers, so that no two takes of any process share it.
 * Leased tokens have none: what one request returns, another one may spend.
 */
function newMark({ dryRun, policy }: RequestPolicy): number | undefined {
  return dryRun || policy.lease > 0 ? undefined : Math.floor(Math.random() * 2 ** 53);
}

function checkKey(requestPolicy: RequestPolicy, resolved: unknown): string {
  const key = toKey(resolved);
  return key === undefined ? withoutKey(requestPolicy, resolved) : boundKey(key);
}

function withoutKey({ policy: { name }, key: resolver }: RequestPolicy, resolved: unknown): never {
  if (resolved === undefined || resolved === null || resolved === '') warnOfKeyWithoutUser(name, resolver);
  return invalidKey(`The key of policy ${name}`, resolved);
}

/** The message of a rejection, or its whole body; `undefined` for the default. */
export function resolveMessage(
  message: RateLimitOptions['message'],
  context: ExecutionContext,
  decision: Decision,
): MaybePromise<string | object | undefined> {
  if (typeof message !== 'function') return message;
  return chain(message(context, decision), (resolved) => {
    if (resolved === undefined || typeof resolved === 'string' || (typeof resolved === 'object' && resolved !== null)) {
      return resolved;
    }
    const rule = `must be a string or an object, got ${formatValue(resolved)}`;
    throw new RateLimitResolverError(`The message of policy ${decision.policy} ${rule}`);
  });
}

/** The amount of a cost that was resolved per request. */
export function resolvedAmount(what: string, policy: string, cost: unknown): number {
  const amount = toCostAmount(cost);
  if (amount !== undefined) return amount;
  const rule = `must be ${costRule(cost)}, got ${formatValue(cost)}`;
  throw new RateLimitResolverError(`The ${what} of policy ${policy} ${rule}`);
}

/** Whether a request needs nothing but one take, of a policy that was resolved for it. */
export function isPlain(takes: readonly RequestTake[]): boolean {
  return takes.length === 1 && takes[0].requestPolicy.isPlain;
}
