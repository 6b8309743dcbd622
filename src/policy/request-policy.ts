import { checkLimitNames, checkName } from '../core/limit.js';
import { definePolicy, type Policy, renamePolicy } from '../core/policy.js';
import { deniesAll } from '../core/resolved-policy.js';
import type { FixedHeaders } from '../transport/header-formats.js';
import { fixedHeaders } from '../transport/headers.js';
import { checkOptionNames, invalidOption } from '../util/option-error.js';
import { hasCost, type LimitCosts, limitsOfCost, parseLimitCosts } from './limit-costs.js';
import {
  OPTION_NAMES,
  OPTION_SYNONYMS,
  type ParsedRequestOptions,
  parseRequestOptions,
  REQUEST_LIMIT_OPTIONS,
} from './policy-options.js';
import type { RateLimitOptions, RequestLimit } from './rate-limit.options.js';
import type { ResolveFn, ResolverLookup } from './resolvable.js';

/** A policy as a handler uses it: all its options, parsed. */
export interface RequestPolicy extends ParsedRequestOptions, LimitCosts {
  readonly policy: Policy;
  /** Whether its options have a `key`. */
  readonly hasKey: boolean;
  /** Whether every request takes the same amount, so that only the key is resolved. */
  readonly hasFixedCost: boolean;
  /** Whether a take needs nothing but the store: it has a fixed cost, takes no slot, and neither waits nor is a dry run. */
  readonly isPlain: boolean;
  /** The headers that all answers to its takes have in common. */
  readonly headers: FixedHeaders;
  /** Whether the handler may report its costs. */
  readonly isReported: boolean;
}

/**
 * Parses the options of one policy; `name` is its name if the options have none, and `define` makes the policy of its
 * limits. `isOfCalls`: it limits calls of methods, which may be queued without a limit.
 */
export function parseRequestPolicy(
  options: RateLimitOptions,
  name: string,
  defaultKey: ResolveFn<unknown>,
  resolvers: ResolverLookup,
  define: (options: RateLimitOptions, name: string) => Policy = definePolicy,
  isOfCalls = false,
): RequestPolicy {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    invalidOption('options', 'an object', options);
  }
  checkOptionNames(options, OPTION_NAMES, OPTION_SYNONYMS);
  if (options.limits !== undefined) checkLimitNames(options.limits, REQUEST_LIMIT_OPTIONS);
  if (options.name === undefined) checkName(name);
  const policy = define(options, name);
  const context = { policy, limits: limitsOfCost(options, policy), defaultKey, resolvers, isOfCalls };
  const parsed = parseRequestOptions(options, context);
  const { cost, settle } = parsed;
  const costs = parseLimitCosts(options, context, { cost, settle, isStated: hasCost(options) });
  const hasOneCost = typeof cost === 'number' && cost > 0 && !costs.hasOwnCosts;
  const hasFixedCost = hasOneCost && !parsed.skip && !parsed.dryRun;
  const isDecidedByTokens = policy.limits.length > 0 && policy.slotIndex < 0 && !deniesAll(policy);
  const isPlain = hasFixedCost && parsed.maxWait === 0 && isDecidedByTokens;
  const hasKey = options.key !== undefined;
  return {
    policy,
    hasKey,
    hasFixedCost,
    isPlain,
    isReported: false,
    headers: fixedHeaders([policy]),
    ...parsed,
    ...costs,
  };
}

/** The same policy under another name, and so with buckets of its own. */
export function renamed(requestPolicy: RequestPolicy, name: string): RequestPolicy {
  const policy = renamePolicy(requestPolicy.policy, name);
  return { ...requestPolicy, policy, headers: fixedHeaders([policy]) };
}

/** Whether requests may take a slot of a policy; one that is known only per request may have some. */
export function mayTakeSlot(policy: RequestPolicy | RateLimitOptions | undefined): boolean {
  if (!policy) return true;
  // Invalid options are reported when plans are compiled.
  const { policy: parsed, concurrency, limits }: Partial<RequestPolicy & RateLimitOptions> = Object(policy);
  if (parsed) return parsed.slotIndex >= 0;
  return concurrency !== undefined || (Array.isArray(limits) && limits.some((limit) => limit?.concurrency));
}

/** Whether the cost of a policy may be corrected; one that is known only per request may be. */
export function maySettle(policy: RequestPolicy | RateLimitOptions | undefined): boolean {
  if (!policy) return true;
  // Invalid options are reported when plans are compiled.
  const { isSettled, settle, limits }: Partial<RequestPolicy & RateLimitOptions> = Object(policy);
  if (isSettled || settle !== undefined) return true;
  return Array.isArray(limits) && limits.some((limit: RequestLimit | undefined) => limit?.settle !== undefined);
}
