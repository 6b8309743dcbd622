import { type ExecutionContext, Logger } from '@nestjs/common';
import type { Policy } from '../core/policy.js';
import type { Take } from '../core/request.js';
import { NO_CLIENT } from '../keys/client-key.js';
import { boundKey, isKey, RateLimitResolverError, rejectKey } from '../keys/key.js';
import { chain, isPromise, type MaybePromise } from '../util/maybe-promise.js';
import { show } from '../util/option-error.js';
import { costAmount, type PolicyUse } from './request-policy.js';

/** A take of a request that knows the use it comes from. */
export interface PlannedTake extends Take {
  readonly use: PolicyUse;
}

/** What one request takes of a policy; `undefined` if it is skipped. */
export function takeOf(use: PolicyUse, context: ExecutionContext): MaybePromise<PlannedTake | undefined> {
  if (!use.dryRun) return takeUnlessSkipped(use, context);
  // The client sees nothing of a policy on trial, nor of what is wrong with it.
  try {
    const take = takeUnlessSkipped(use, context);
    return isPromise(take) ? take.catch((error) => warnOnce(use.policy, onTrial(use.policy, error))) : take;
  } catch (error) {
    return warnOnce(use.policy, onTrial(use.policy, error));
  }
}

const logger = new Logger('RateLimit');
/** Names of policies; a resolver may make its policy anew for each request, and names without end. */
const warned = new Set<string>();
const MOST_WARNED = 100;

function warnOnce({ name }: Policy, warning: string): undefined {
  if (warned.has(name) || warned.size === MOST_WARNED) return;
  warned.add(name);
  logger.warn(warning);
}

/** The next application in this process is warned anew. */
export function forgetWarnings(): void {
  warned.clear();
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
  if (key === NO_CLIENT) return warnOnce(policy, withoutClient(policy));
  return { policy, key: checkKey(policy, key), amount, maxWait, onStoreError, use };
}

function checkKey(policy: Policy, key: unknown): string {
  return isKey(key) ? boundKey(key) : rejectKey(`The key of policy ${policy.name}`, key);
}

/** The amount of a cost that was told at run time. */
export function amountTold(what: string, policy: Policy, cost: unknown): number {
  return costAmount(policy, cost, (rule) => {
    throw new RateLimitResolverError(`The ${what} of policy ${policy.name} must be ${rule}, got ${show(cost)}`);
  });
}
