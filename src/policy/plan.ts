import type { ExecutionContext, Type } from '@nestjs/common';
import type { Take } from '../core/request.js';
import type { ParsedModuleOptions } from '../module/module-options.js';
import { type FixedHeaders, fixedHeaders } from '../transport/headers.js';
import { chain, isPromise, type MaybePromise } from '../util/maybe-promise.js';
import { at, RateLimitOptionError, reject, show } from '../util/option-error.js';
import { type Handler, methodsOf } from './explorer.js';
import { LIMITS, SKIP } from './rate-limit.decorator.js';
import {
  type PolicyResolver,
  type RateLimitInput,
  type RateLimitOptions,
  type Single,
  takenApart,
} from './rate-limit.options.js';
import { type Instances, isResolver, type PolicyUse, parseUse, type Tell, teller } from './request-policy.js';
import { type PlannedTake, takeOf } from './request-take.js';

/** What a policy is given by at run time: a fixed use, or one that is told per request. */
type Source = PolicyUse | Tell<PolicyUse>;

/** What the guard does for one handler, compiled once. */
export class Plan {
  /** Set where one policy with a constant cost and without `skip` is all there is: then nothing is to be resolved. */
  readonly single: (PolicyUse & { readonly amount: number }) | undefined;
  /** Where all policies are fixed. */
  private readonly headers: FixedHeaders | undefined;
  /** Whether costs may have to be settled afterwards. */
  readonly settles: boolean;

  constructor(private readonly sources: readonly Source[]) {
    const fixed = sources.filter((source) => typeof source !== 'function');
    const [first] = fixed;
    this.settles = fixed.length < sources.length || fixed.some((use) => use.settle !== undefined);
    if (sources.length === 1 && first && first.amount && !first.skip && !first.dryRun) {
      this.single = first as PolicyUse & { amount: number };
    }
    if (fixed.length === sources.length) this.headers = fixedHeaders(fixed.map((use) => use.policy));
  }

  /** What the headers of an answer to these takes have in common. */
  headersOf(takes: readonly Take[]): FixedHeaders {
    // Fewer where a policy was skipped, tried out or merged with another.
    if (this.headers && takes.length === this.sources.length) return this.headers;
    return fixedHeaders(takes.map(({ policy }) => policy));
  }

  /** What a request takes, of all policies that apply to it. */
  takes(context: ExecutionContext): MaybePromise<readonly PlannedTake[]> {
    const told: MaybePromise<PlannedTake | undefined>[] = [];
    try {
      for (const source of this.sources) {
        const fixed = typeof source !== 'function';
        told.push(fixed ? takeOf(source, context) : chain(source(context), (use) => takeOf(use, context)));
      }
    } catch (error) {
      // This one is the request's error; those still under way must not fail where nobody listens.
      for (const other of told) if (isPromise(other)) other.catch(() => {});
      throw error;
    }
    return told.some(isPromise) ? Promise.all(told).then(present) : present(told as (PlannedTake | undefined)[]);
  }
}

function present(takes: readonly (PlannedTake | undefined)[]): readonly PlannedTake[] {
  return takes.filter((take) => take !== undefined);
}

/** What the compiler must know of the module. */
interface PlanContext extends Pick<ParsedModuleOptions, 'named' | 'default' | 'key'> {
  readonly instances: Instances;
  /** What a class is called; more than its own name where two have one. */
  readonly nameOf: (type: Type) => string;
}

/** What limits a handler, and whose decorators say so. */
export interface Applied {
  readonly inputs: readonly Single[];
  readonly from: 'handler' | 'class' | 'default';
}

/** The handler's own decorators, else those of its class or the nearest base class, else the module's default. */
export function appliedTo(type: Type, handler: Handler, whole: readonly Single[] = []): Applied | undefined {
  for (const from of ['handler', 'class'] as const) {
    const target = from === 'handler' ? handler : type;
    const given: readonly (RateLimitInput | typeof SKIP)[] = Reflect.getMetadata(LIMITS, target) ?? [];
    if (given.includes(SKIP)) return undefined;
    if (given.length > 0) return { inputs: given.flatMap(takenApart), from };
  }
  return whole.length > 0 ? { inputs: whole, from: 'default' } : undefined;
}

/** The same policies as far as they are known before a request: `undefined` for one that a resolver will tell. */
export function knownPolicies(
  type: Type,
  handler: Handler,
  { named, default: whole }: Pick<ParsedModuleOptions, 'named' | 'default'>,
): (PolicyUse | RateLimitOptions | undefined)[] {
  const { inputs = [] } = appliedTo(type, handler, whole) ?? {};
  return inputs.map((input) => {
    if (typeof input === 'function') return undefined;
    // What is wrong is found later, when plans are made, and told better.
    return (typeof input === 'string' ? named.get(input) : input) ?? {};
  });
}

/** Compiles the decorators of a handler, and of its class, to a plan; `undefined` if it is not limited. */
export function compilePlan(type: Type, handler: Handler, context: PlanContext): Plan | undefined {
  const applied = appliedTo(type, handler, context.default);
  if (!applied) return undefined;
  const { inputs, from } = applied;
  const [property = handler.name] = methodsOf(type).find(([, method]) => method === handler) ?? [];
  const handlerName = `${context.nameOf(type)}.${property}`;
  if (from === 'handler') return makePlan(inputs, `${type.name}.${property}`, handlerName, handlerName, context);
  if (from === 'class') return makePlan(inputs, type.name, context.nameOf(type), handlerName, context);
  return makePlan(inputs, 'forRoot({ default })', 'default', handlerName, context);
}

function makePlan(
  inputs: readonly Single[],
  place: string,
  name: string,
  handlerName: string,
  context: PlanContext,
): Plan {
  const parse = (options: RateLimitOptions, index: number): PolicyUse => {
    const base = options?.perHandler ? handlerName : name;
    const use = parseUse(options, index === 0 ? base : `${base}-${index + 1}`, context.key, context.instances);
    const { perHandler, name: given } = options;
    if (!perHandler || given === undefined || handlerName === name) return use;
    return parseUse({ ...options, name: `${given}.${handlerName}` }, '', context.key, context.instances);
  };
  const byName = (policy: string): PolicyUse => {
    const use = context.named.get(policy);
    if (use) return use;
    const known = [...context.named.keys()].join(', ') || 'none';
    throw new RateLimitOptionError(`the policy must be one of those in \`policies\` (${known}), got ${show(policy)}`);
  };
  const answer = `Invalid answer of the resolver of @RateLimit on ${place}`;
  const resolved = (resolver: PolicyResolver, index: number): Source => {
    const tell = teller<string | RateLimitOptions>('options', resolver, context.instances);
    const parsed = new WeakMap<RateLimitOptions, PolicyUse>();
    const use = (told: string | RateLimitOptions): PolicyUse => {
      if (typeof told === 'string') return byName(told);
      if (typeof told !== 'object' || told === null) return parse(told, index);
      let known = parsed.get(told);
      if (!known) {
        known = parse(told, index);
        parsed.set(told, known);
      }
      return known;
    };
    return (request) => chain(tell(request), (told) => at(answer, () => use(told)));
  };
  const sources = inputs.map((input, index) =>
    at(`Invalid @RateLimit on ${place}`, (): Source => {
      if (typeof input === 'string') return byName(input);
      if (Array.isArray(input) && input.length === 0) {
        throw new RateLimitOptionError('a list must have at least one policy, got none');
      }
      return typeof input === 'function' ? resolved(input, index) : parse(input, index);
    }),
  );
  at(`Invalid @RateLimit on ${place}`, () => checkSameNames(sources, inputs));
  return new Plan(sources);
}

/** Headers tell policies apart by name: on one handler each has its own, but for the same once more and for trials. */
function checkSameNames(sources: readonly Source[], inputs: readonly Single[]): void {
  const known = new Map<string, { readonly id: string; readonly key: unknown }>();
  sources.forEach((source, index) => {
    if (typeof source === 'function' || source.dryRun) return;
    const { name, id } = source.policy;
    const input = inputs[index];
    const key = (typeof input === 'object' && input.key) || source.key;
    const other = known.get(name);
    if (other && (other.id !== id || other.key !== key)) {
      reject('name', 'another one for other numbers or another key', name);
    }
    known.set(name, { id, key });
  });
}

/** Every injectable class that the decorators of a target name. */
export function resolversOf(inputs: readonly unknown[]): Type[] {
  return inputs
    .flatMap((input) => {
      const { key, cost, skip, onLimited } = Object(input) as RateLimitOptions;
      return [input, key, cost, skip, onLimited];
    })
    .filter(isResolver);
}
