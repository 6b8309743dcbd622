import type { Type } from '@nestjs/common';
import { definePolicy } from '../core/policy.js';
import { defineResolvedPolicy } from '../core/resolved-policy.js';
import { warnOfResolverWithoutUser } from '../keys/missing-user-warning.js';
import { chain, isPromise } from '../util/maybe-promise.js';
import { formatValue, RateLimitOptionError, unknownPolicy, withErrorPrefix } from '../util/option-error.js';
import type { DeclaredLimits, ExploredMethod } from './explorer.js';
import type { HandlerParameter } from './handler-parameters.js';
import type { ParsedModuleOptions } from './parsed-options.js';
import { Plan, type PolicySource } from './plan.js';
import { resolversIn } from './policy-options.js';
import type { PolicyInput, PolicyResolver, RateLimitOptions } from './rate-limit.options.js';
import { parseRequestPolicy, type RequestPolicy, renamed } from './request-policy.js';
import { isResolver, type ResolverLookup, toResolveFn } from './resolvable.js';
import { fixOf } from './resolver-result.js';
import { ResultCache } from './result-cache.js';

/** What the compiler requires of the application. */
export interface PlanContext extends Pick<ParsedModuleOptions, 'named' | 'default' | 'key'> {
  readonly resolvers: ResolverLookup;
  /** Whether the plans are for calls of methods, and not for requests. */
  readonly isOfCalls?: boolean;
  /** Returns a name of the class that is unique in the application. */
  nameOf(type: Type): string;
}

/** The limits that apply to a method, and where they come from. */
export interface AppliedLimits {
  readonly inputs: readonly PolicyInput[];
  readonly from: DeclaredLimits['from'] | 'default';
}

/** The limits of a method's decorators, or else the module's default; `undefined` if it has none. */
export function appliedLimits(
  { declared }: Pick<ExploredMethod, 'declared'>,
  defaults: ParsedModuleOptions['default'],
): AppliedLimits | undefined {
  const applied: AppliedLimits = declared ?? { inputs: defaults, from: 'default' };
  return applied.inputs.length > 0 ? applied : undefined;
}

/** The policies of a method; `undefined` for each one that a resolver returns per request. */
export function knownPolicies(
  method: Pick<ExploredMethod, 'declared'>,
  { named, default: defaults }: Pick<ParsedModuleOptions, 'named' | 'default'>,
): (RequestPolicy | RateLimitOptions | undefined)[] {
  const { inputs = [] } = appliedLimits(method, defaults) ?? {};
  return inputs.map((input) => {
    if (typeof input === 'function') return undefined;
    // Invalid inputs are reported when plans are compiled.
    return (typeof input === 'string' ? named.get(input) : input) ?? {};
  });
}

/** Whether a policy has a bucket for each handler; `undefined` if a resolver returns the policy. */
export function isPerHandler(input: PolicyInput, named: ParsedModuleOptions['named']): boolean | undefined {
  if (typeof input === 'function') return undefined;
  return (typeof input === 'string' ? named.get(input)?.perHandler : input.perHandler) ?? false;
}

/** Compiles the limits that apply to a method, which has these injected parameters. */
export function compilePlan(
  { type, property }: { readonly type: Type; readonly property: string | symbol },
  { inputs, from }: AppliedLimits,
  context: PlanContext,
  parameters: readonly HandlerParameter[] = [],
): Plan {
  const className = context.nameOf(type);
  const handlerName = `${className}.${String(property)}`;
  if (from === 'handler') {
    const place = `@RateLimit on ${type.name}.${String(property)}`;
    return new PlanCompiler(place, handlerName, handlerName, context).compile(inputs, parameters);
  }
  if (from === 'class')
    return new PlanCompiler(`@RateLimit on ${type.name}`, className, handlerName, context).compile(inputs, parameters);
  return new PlanCompiler('`default` of RateLimitModule.forRoot', 'default', handlerName, context).compile(
    inputs,
    parameters,
  );
}

class PlanCompiler {
  constructor(
    /** Where the limits are declared, for error messages. */
    private readonly place: string,
    /** The name of a policy without a name; further ones get a number. */
    private readonly defaultName: string,
    private readonly handlerName: string,
    private readonly context: PlanContext,
  ) {}

  compile(inputs: readonly PolicyInput[], parameters: readonly HandlerParameter[]): Plan {
    const place = `Invalid ${this.place}`;
    const sources = inputs.map((input, index) => withErrorPrefix(place, () => this.source(input, index)));
    withErrorPrefix(place, () => checkNames(sources, inputs));
    return new Plan(sources, parameters);
  }

  private source(input: PolicyInput, index: number): PolicySource {
    if (typeof input === 'string') return this.fromName(input);
    if (Array.isArray(input) && input.length === 0) {
      throw new RateLimitOptionError('a list must have at least one policy, got []');
    }
    return typeof input === 'function' ? this.fromResolver(input, index) : this.fromOptions(input, index);
  }

  private fromName(policy: string): RequestPolicy {
    const { named, key, isOfCalls } = this.context;
    let found = named.get(policy) ?? unknownPolicy(policy, named.keys());
    // Its default key is that of requests.
    if (isOfCalls && !found.hasKey) found = { ...found, key };
    return found.perHandler ? renamed(found, `${policy}.${this.handlerName}`) : found;
  }

  private fromOptions(options: RateLimitOptions, index: number, define = definePolicy): RequestPolicy {
    const { key, resolvers, isOfCalls } = this.context;
    const base = options?.perHandler ? this.handlerName : this.defaultName;
    const parse = (given: RateLimitOptions, fallback: string) =>
      parseRequestPolicy(given, fallback, key, resolvers, define, isOfCalls);
    const parsed = parse(options, index === 0 ? base : `${base}-${index + 1}`);
    const { perHandler, name } = options;
    if (!perHandler || name === undefined || this.handlerName === this.defaultName) return parsed;
    return parse({ ...options, name: `${name}.${this.handlerName}` }, '');
  }

  private fromResolver(resolver: Extract<PolicyResolver, object>, index: number): PolicySource {
    const resolve = toResolveFn<string | RateLimitOptions>('options', resolver, this.context.resolvers);
    const resolverName = `The resolver of ${this.place}`;
    const subject = `${resolverName} returned`;
    const parseOptions = (result: RateLimitOptions) =>
      withErrorPrefix(
        `${subject} invalid options`,
        () => this.fromOptions(result, index, defineResolvedPolicy),
        fixOf(result),
      );
    const byOptions = new ResultCache(parseOptions);
    const byName = new Map<string, RequestPolicy>();
    const parseName = (name: string) => {
      const found = withErrorPrefix(`${subject} an invalid policy name`, () => this.fromName(name));
      byName.set(name, found);
      return found;
    };
    const parse = (result: string | RateLimitOptions): RequestPolicy => {
      if (typeof result === 'string') return byName.get(result) ?? parseName(result);
      if (typeof result === 'object' && result !== null && !Array.isArray(result)) return byOptions.parsed(result);
      if (result === undefined || result === null) warnOfResolverWithoutUser(resolverName, resolver);
      const rule = `${formatValue(result)}; it must return a policy name or options${fixOf(result)}`;
      throw new RateLimitOptionError(`${subject} ${rule}`);
    };
    const failed = (error: unknown): never => {
      // A property of a user that is not set yet was read.
      if (error instanceof TypeError) warnOfResolverWithoutUser(resolverName, resolver);
      throw error;
    };
    return (request) => {
      try {
        const result = resolve(request);
        // A result that is known is no promise.
        const policy = byOptions.recall(result) ?? chain(result, parse);
        return isPromise(policy) ? policy.catch(failed) : policy;
      } catch (error) {
        return failed(error);
      }
    };
  }
}

/**
 * Headers identify policies by name, so on one handler each needs its own. Exceptions are the same policy used twice,
 * and dry runs.
 */
function checkNames(sources: readonly PolicySource[], inputs: readonly PolicyInput[]): void {
  const known = new Map<string, { readonly id: string; readonly key: unknown }>();
  sources.forEach((source, index) => {
    if (typeof source === 'function' || source.dryRun) return;
    const { name, id } = source.policy;
    const input = inputs[index];
    const key = (typeof input === 'object' && input.key) || source.key;
    const other = known.get(name);
    if (other && (other.id !== id || other.key !== key)) {
      throw new RateLimitOptionError(
        `two policies are named ${formatValue(name)} but have different limits or keys; give one of them another \`name\``,
      );
    }
    known.set(name, { id, key });
  });
}

/** The injectable class that an input is, or those among its options, with the names of the options. */
export function resolversOf(input: unknown): ReturnType<typeof resolversIn> {
  return isResolver(input) ? [['options', input]] : resolversIn(Object(input));
}
