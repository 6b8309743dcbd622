import type { Type } from '@nestjs/common';
import { renamePolicy } from '../core/policy.js';
import { chain } from '../util/maybe-promise.js';
import { formatValue, inPlace, invalidOption, RateLimitOptionError, unknownPolicy } from '../util/option-error.js';
import type { DeclaredLimits, ExploredMethod } from './explorer.js';
import type { ParsedModuleOptions } from './parsed-options.js';
import { Plan, type PolicySource } from './plan.js';
import { resolversIn } from './policy-options.js';
import type { PolicyInput, PolicyResolver, RateLimitOptions } from './rate-limit.options.js';
import { parseRequestPolicy, type RequestPolicy } from './request-policy.js';
import { isResolver, type ResolverLookup, toResolveFn } from './resolvable.js';

/** What the compiler needs to know of the application. */
export interface PlanContext extends Pick<ParsedModuleOptions, 'named' | 'default' | 'key'> {
  readonly resolvers: ResolverLookup;
  /** A unique name of a class. */
  nameOf(type: Type): string;
}

/** The limits that apply to a method, and where they come from. */
export interface AppliedLimits {
  readonly inputs: readonly PolicyInput[];
  readonly from: DeclaredLimits['from'] | 'default';
}

/** The limits of a method's decorators, or else the module's default; `undefined` if it has none. */
export function appliedLimits(
  { declared }: ExploredMethod,
  defaults: ParsedModuleOptions['default'],
): AppliedLimits | undefined {
  const applied: AppliedLimits = declared ?? { inputs: defaults, from: 'default' };
  return applied.inputs.length > 0 ? applied : undefined;
}

/** The policies of a method as far as they are known before a request: `undefined` for one that a resolver returns. */
export function knownPolicies(
  method: ExploredMethod,
  { named, default: defaults }: Pick<ParsedModuleOptions, 'named' | 'default'>,
): (RequestPolicy | RateLimitOptions | undefined)[] {
  const { inputs = [] } = appliedLimits(method, defaults) ?? {};
  return inputs.map((input) => {
    if (typeof input === 'function') return undefined;
    // Invalid inputs are reported when plans are compiled.
    return (typeof input === 'string' ? named.get(input) : input) ?? {};
  });
}

/** Whether a policy has a bucket for each handler; unknown for one that a resolver returns. */
export function isPerHandler(input: PolicyInput, named: ParsedModuleOptions['named']): boolean | undefined {
  if (typeof input === 'function') return undefined;
  return (typeof input === 'string' ? named.get(input)?.perHandler : input.perHandler) ?? false;
}

/** Compiles the limits that apply to a method. */
export function compilePlan(
  { type, property }: Pick<ExploredMethod, 'type' | 'property'>,
  { inputs, from }: AppliedLimits,
  context: PlanContext,
): Plan {
  const className = context.nameOf(type);
  const handlerName = `${className}.${property}`;
  if (from === 'handler') {
    return new PlanCompiler(`${type.name}.${property}`, handlerName, handlerName, context).compile(inputs);
  }
  if (from === 'class') return new PlanCompiler(type.name, className, handlerName, context).compile(inputs);
  return new PlanCompiler('forRoot({ default })', 'default', handlerName, context).compile(inputs);
}

class PlanCompiler {
  constructor(
    /** Where the limits are declared, for error messages. */
    private readonly place: string,
    /** The name of policies without a name. */
    private readonly name: string,
    private readonly handlerName: string,
    private readonly context: PlanContext,
  ) {}

  compile(inputs: readonly PolicyInput[]): Plan {
    const place = `Invalid @RateLimit on ${this.place}`;
    const sources = inputs.map((input, index) => inPlace(place, () => this.source(input, index)));
    inPlace(place, () => checkNames(sources, inputs));
    return new Plan(sources);
  }

  private source(input: PolicyInput, index: number): PolicySource {
    if (typeof input === 'string') return this.byName(input);
    if (Array.isArray(input) && input.length === 0) {
      throw new RateLimitOptionError('a list must have at least one policy, got []');
    }
    return typeof input === 'function' ? this.resolved(input, index) : this.parse(input, index);
  }

  private byName(policy: string): RequestPolicy {
    const { named } = this.context;
    const found = named.get(policy) ?? unknownPolicy(policy, named.keys());
    return found.perHandler ? { ...found, policy: renamePolicy(found.policy, `${policy}.${this.handlerName}`) } : found;
  }

  private parse(options: RateLimitOptions, index: number): RequestPolicy {
    const { key, resolvers } = this.context;
    const base = options?.perHandler ? this.handlerName : this.name;
    const parsed = parseRequestPolicy(options, index === 0 ? base : `${base}-${index + 1}`, key, resolvers);
    const { perHandler, name } = options;
    if (!perHandler || name === undefined || this.handlerName === this.name) return parsed;
    return parseRequestPolicy({ ...options, name: `${name}.${this.handlerName}` }, '', key, resolvers);
  }

  private resolved(resolver: PolicyResolver, index: number): PolicySource {
    const resolve = toResolveFn<string | RateLimitOptions>('options', resolver, this.context.resolvers);
    const subject = `The resolver of @RateLimit on ${this.place} returned`;
    const parsed = new WeakMap<RateLimitOptions, RequestPolicy>();
    const parse = (result: string | RateLimitOptions): RequestPolicy => {
      if (typeof result === 'string') return inPlace(`${subject} a wrong name`, () => this.byName(result));
      if (typeof result !== 'object' || result === null || Array.isArray(result)) {
        throw new RateLimitOptionError(`${subject} ${formatValue(result)}; it must return a policy name or options`);
      }
      let known = parsed.get(result);
      if (!known) {
        known = inPlace(`${subject} invalid options`, () => this.parse(result, index));
        parsed.set(result, known);
      }
      return known;
    };
    return (request) => chain(resolve(request), parse);
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
      invalidOption('name', 'different for different limits or keys', name);
    }
    known.set(name, { id, key });
  });
}

/** The injectable classes that inputs name. */
export function resolversOf(inputs: readonly unknown[]): Type[] {
  return inputs.flatMap((input) => (isResolver(input) ? [input] : resolversIn(Object(input))));
}
