import { Inject, Injectable, type OnModuleInit, type Type } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import type { ParsedModuleOptions } from '../module/module-options.js';
import { RateLimitOptionError } from '../util/option-error.js';
import { classesOf, type Handler, methodsOf } from './explorer.js';
import { type Applied, appliedTo, compilePlan, type Plan, resolversOf } from './plan.js';
import { ResolverInstances } from './resolver-registry.js';

/** Injection token of the module's checked options. */
export const PARSED_OPTIONS = Symbol.for('nest-rate-limit:options');

interface Entry {
  readonly type: Type;
  readonly handler: Handler;
  readonly plan: Plan | undefined;
  /** The plan of the same function in another class: inherited handlers belong to each class separately. */
  readonly next: Entry | undefined;
}

/** What all guards of an application share: Nest makes one for each module that binds it. */
@Injectable()
export class WaitingLine {
  /** Requests that wait in line, or may have to. */
  waiting = 0;
}

/** The plan of each handler. All that are found are compiled at the start, so that a wrong one stops it. */
@Injectable()
export class Plans implements OnModuleInit {
  private readonly entries = new Map<Handler, Entry>();
  /** Asked for more than once by each request. */
  private last: Entry | undefined;
  private readonly names = new Map<Type, string>();

  constructor(
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
    private readonly instances: ResolverInstances,
    private readonly discovery: DiscoveryService,
  ) {}

  async onModuleInit(): Promise<void> {
    const controllers = this.discovery.getControllers();
    const wrappers = [...controllers, ...this.discovery.getProviders()];
    const limited = [...classesOf(wrappers)].flatMap((type) => this.limitedOf(type));
    const named = this.byHandler ? classesOf(controllers) : new Set<Type>();
    for (const { type } of limited) named.add(type);
    this.nameClasses([...named], (type) => wrappers.find(({ metatype }) => metatype === type)?.host?.name ?? '');
    const inputs = limited.flatMap((applied) => applied.inputs);
    await this.instances.find(resolversOf([...inputs, ...this.options.inputs]));
    for (const { type, handler } of limited) this.of(type, handler);
  }

  /** The plan of a handler; `undefined` if it is not limited. */
  of(type: Type, handler: Handler): Plan | undefined {
    const { last } = this;
    if (last?.handler === handler && last.type === type) return last.plan;
    this.last = this.entryOf(type, handler);
    return this.last.plan;
  }

  /** All handlers that are limited, as far as they are known. */
  *limited(): Iterable<{ readonly type: Type; readonly handler: Handler }> {
    for (const first of this.entries.values()) {
      for (let entry: Entry | undefined = first; entry; entry = entry.next) if (entry.plan) yield entry;
    }
  }

  private entryOf(type: Type, handler: Handler): Entry {
    const first = this.entries.get(handler);
    for (let entry = first; entry; entry = entry.next) if (entry.type === type) return entry;
    const plan = compilePlan(type, handler, {
      ...this.options,
      instances: this.instances.of,
      nameOf: (other) => this.names.get(other) ?? other.name,
    });
    const entry = { type, handler, plan, next: first };
    this.entries.set(handler, entry);
    return entry;
  }

  /** Classes of one name are told apart by their module's; where that is the same too, their policies need names. */
  private nameClasses(types: readonly Type[], hostOf: (type: Type) => string): void {
    const taken = new Map<string, Type>();
    for (const type of types) {
      const shared = types.some((other) => other !== type && other.name === type.name);
      const name = shared ? `${hostOf(type)}.${type.name}` : type.name;
      const other = taken.get(name);
      if (other && [type, other].some((one) => this.hasUnnamed(one))) {
        throw new RateLimitOptionError(
          `Invalid @RateLimit on ${type.name}: \`name\` must be given, since two classes in ${hostOf(type)} are called ${type.name}`,
        );
      }
      taken.set(name, type);
      this.names.set(type, name);
    }
  }

  /** Whether all handlers may have buckets of their own. */
  private get byHandler(): boolean {
    return this.options.default.some((input) => typeof input === 'object' && input.perHandler === true);
  }

  private hasUnnamed(type: Type): boolean {
    if (this.byHandler) return true;
    const inputs = this.limitedOf(type).flatMap((applied) => applied.inputs);
    return inputs.some((input) => (typeof input === 'object' ? input.name === undefined : typeof input === 'function'));
  }

  /** What decorators limit of a class, and by what. */
  private limitedOf(type: Type): (Applied & Pick<Entry, 'type' | 'handler'>)[] {
    return methodsOf(type).flatMap(([, handler]) => {
      const applied = appliedTo(type, handler);
      return applied ? [{ ...applied, type, handler }] : [];
    });
  }
}
