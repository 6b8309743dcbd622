import { Inject, Injectable, type OnModuleInit, type Type } from '@nestjs/common';
import { MemoryStore } from '../stores/memory/memory.store.js';
import { RateLimitOptionError, withErrorPrefix } from '../util/option-error.js';
import { nameClasses, warnOfMinified } from './class-names.js';
import { type ExploredClass, type ExploredMethod, Explorer, type Handler, propertyOf } from './explorer.js';
import { parametersOf } from './handler-parameters.js';
import { PARSED_OPTIONS, type ParsedModuleOptions } from './parsed-options.js';
import type { Plan } from './plan.js';
import {
  type AppliedLimits,
  appliedLimits,
  compilePlan,
  isPerHandler,
  type PlanContext,
  resolversOf,
} from './plan-compiler.js';
import type { PolicyInput } from './rate-limit.options.js';
import { toResolveFn } from './resolvable.js';
import { ResolverRegistry } from './resolver-registry.js';
import { hasRoute } from './routing.js';

/** How JavaScript begins the name of a function that `bind` returned. */
const BOUND = /^(bound )+/;

interface Entry {
  readonly explored: ExploredMethod;
  /** `null` until a request needs it: for methods that only the module's default may limit, or that may not be routed. */
  plan: Plan | undefined | null;
  /** The entry of the same function in another class: each class has its own plans for inherited handlers. */
  readonly next: Entry | undefined;
  /** Whether a guard has run for it: then its calls are requests. */
  isGuarded: boolean;
}

/** The plans of all handlers, compiled when the application starts, so that an invalid one stops it. */
@Injectable()
export class PlanRegistry implements OnModuleInit {
  private readonly byMethod = new Map<Handler, Entry>();
  private readonly byClass = new Map<Type, ReadonlyMap<string, Entry>>();
  /** The last result: each request needs it more than once. */
  private last: { readonly type: Type; readonly method: Handler; readonly plan: Plan | undefined } | undefined;
  /** Plans shared by all handlers that the same limits apply to. */
  private readonly shared = new Map<AppliedLimits['inputs'], Plan>();
  private names: ReadonlyMap<Type, string> = new Map();
  private compiled: Promise<void> | undefined;

  constructor(
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
    private readonly resolvers: ResolverRegistry,
    private readonly explorer: Explorer,
  ) {}

  onModuleInit(): Promise<void> {
    return this.ready();
  }

  /** Compiles all plans, once. */
  ready(): Promise<void> {
    this.compiled ??= this.compileAll();
    return this.compiled;
  }

  private async compileAll(): Promise<void> {
    this.explorer.exploreInstances();
    const { classes } = this.explorer;
    const named = classes.filter((found) => this.needsName(found));
    this.names = nameClasses(named, (found) => this.hasUnnamedPolicy(found));
    const { store } = this.options;
    if (store && !(store instanceof MemoryStore)) warnOfMinified(named.filter((found) => this.hasUnnamedPolicy(found)));
    await this.loadResolvers(classes);
    for (const found of classes) this.register(found);
  }

  /**
   * The plan of a handler; `undefined` if it is not limited. Throws a `RateLimitOptionError` if the handler cannot be
   * identified in a class with different limits.
   */
  of(type: Type, method: Handler): Plan | undefined {
    const { last } = this;
    if (last?.method === method && last.type === type) return last.plan;
    const plan = this.find(type, method);
    this.last = { type, method, plan };
    return plan;
  }

  /** Whether a guard has run for a method, so that it limits the calls that are requests. */
  isGuarded(type: Type, property: string | symbol): boolean {
    return this.byClass.get(type)?.get(property as string)?.isGuarded ?? false;
  }

  /** All controllers and providers. */
  get classes(): readonly ExploredClass[] {
    return this.explorer.classes;
  }

  /** What compiles plans of other calls, with the names and resolvers of the application. */
  get context(): PlanContext {
    return {
      ...this.options,
      resolvers: this.resolvers.lookup,
      nameOf: (type) => this.names.get(type) ?? type.name,
    };
  }

  /** The methods that decorators limit. */
  *limited(): Iterable<ExploredMethod> {
    for (const entries of this.byClass.values()) {
      for (const { explored, plan } of entries.values()) if (plan && explored.declared) yield explored;
    }
  }

  private async loadResolvers(classes: readonly ExploredClass[]): Promise<void> {
    const declared = classes.flatMap(({ methods }) => methods.flatMap((method) => method.declared?.inputs ?? []));
    const given = this.options.inputs.flatMap(({ place, input }) =>
      resolversOf(input).map(([option, type]) => ({ place, option, type })),
    );
    await this.resolvers.load([
      ...declared.flatMap(resolversOf).map(([, type]) => type),
      ...given.map(({ type }) => type),
    ]);
    // Those of decorators are checked when their plans are compiled.
    for (const { place, option, type } of given) {
      withErrorPrefix(place, () => toResolveFn(option, type, this.resolvers.lookup));
    }
  }

  private find(type: Type, method: Handler): Plan | undefined {
    for (let entry = this.byMethod.get(method); entry; entry = entry.next) {
      if (entry.explored.type === type) return this.planOfGuarded(entry);
    }
    const entries = this.byClass.get(type) ?? this.register(this.explorer.classOf(type));
    // Another decorator or a tracing agent has replaced the method, possibly with a new function per request.
    const original = entries.get(propertyOf(method) ?? method.name.replace(BOUND, ''));
    return original ? this.planOfGuarded(original) : this.onlyPlan(type, method, entries);
  }

  private planOfGuarded(entry: Entry): Plan | undefined {
    entry.isGuarded = true;
    return this.planOf(entry);
  }

  private planOf(entry: Entry): Plan | undefined {
    if (entry.plan === null) entry.plan = this.compile(entry.explored);
    return entry.plan;
  }

  /** The plan that all handlers of a class share. Throws if they have different ones. */
  private onlyPlan(type: Type, method: Handler, entries: ReadonlyMap<string, Entry>): Plan | undefined {
    const plans = new Set([...entries.values()].map((entry) => this.planOf(entry)));
    if (plans.size > 1) {
      throw new RateLimitOptionError(
        `Unknown handler ${method.name || '(anonymous)'} of ${type.name}: a decorator or an agent replaced a limited ` +
          'method without copying its metadata and name. Copy both, or apply that decorator below @RateLimit',
      );
    }
    const [plan] = plans;
    return plan;
  }

  private register({ type, methods }: ExploredClass): ReadonlyMap<string, Entry> {
    const entries = new Map<string, Entry>();
    this.byClass.set(type, entries);
    for (const explored of methods) {
      const { property, method, declared } = explored;
      const mayBeUnrouted = declared?.from === 'handler' && !hasRoute(method);
      const plan = declared && !mayBeUnrouted ? this.compile(explored) : null;
      const entry: Entry = { explored, plan, next: this.byMethod.get(method), isGuarded: false };
      entries.set(property, entry);
      this.byMethod.set(method, entry);
    }
    return entries;
  }

  private compile(method: ExploredMethod): Plan | undefined {
    const applied = appliedLimits(method, this.options.default);
    if (!applied) return undefined;
    const parameters = parametersOf(method.type.prototype, method.property);
    const hasSharedPlan =
      applied.from !== 'handler' &&
      parameters.length === 0 &&
      applied.inputs.every((input) => this.isPerHandler(input) === false);
    const plan =
      (hasSharedPlan && this.shared.get(applied.inputs)) || compilePlan(method, applied, this.context, parameters);
    if (hasSharedPlan) this.shared.set(applied.inputs, plan);
    return plan;
  }

  /** Whether the names of its policies contain the name of the class, which must then be unique. */
  private needsName({ methods, isController }: ExploredClass): boolean {
    return (this.defaultIsPerHandler && isController) || methods.some(({ declared }) => declared?.inputs.length);
  }

  private get defaultIsPerHandler(): boolean {
    return this.options.default.some((input) => this.isPerHandler(input));
  }

  private isPerHandler(input: PolicyInput): boolean | undefined {
    return isPerHandler(input, this.options.named);
  }

  private hasUnnamedPolicy({ methods }: ExploredClass): boolean {
    if (this.defaultIsPerHandler) return true;
    const inputs = methods.flatMap(({ declared }) => declared?.inputs ?? []);
    return inputs.some((input) =>
      typeof input === 'object' ? input.name === undefined : this.isPerHandler(input) !== false,
    );
  }
}
