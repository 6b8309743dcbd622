import { checkName } from '../core/limit.js';
import { definePolicy, type Policy } from '../core/policy.js';
import { checkOptionNames, invalidOption } from '../util/option-error.js';
import { OPTION_NAMES, OPTION_SYNONYMS, type ParsedRequestOptions, parseRequestOptions } from './policy-options.js';
import type { RateLimitOptions } from './rate-limit.options.js';
import type { ResolveFn, ResolverLookup } from './resolvable.js';

/** A policy as a handler uses it: all its options, parsed. */
export interface RequestPolicy extends ParsedRequestOptions {
  readonly policy: Policy;
  /** Whether its options have a `key`. */
  readonly hasKey: boolean;
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
  if (options.name === undefined) checkName(name);
  const policy = define(options, name);
  const parsed = parseRequestOptions(options, { policy, defaultKey, resolvers, isOfCalls });
  return { policy, hasKey: options.key !== undefined, ...parsed };
}
