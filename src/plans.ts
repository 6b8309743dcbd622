import { Inject, Injectable, type OnModuleInit, type Type } from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { RateLimitOptionError } from './core/option-error.js';
import type { ParsedModuleOptions } from './module-options.js';
import { compilePlan, type Handler, inputsOf, type Plan, resolversOf } from './plan.js';
import { LIMITS } from './rate-limit.decorator.js';
import { ResolverInstances } from './resolver-instances.js';

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
    private readonly scanner: MetadataScanner,
  ) {}

  async onModuleInit(): Promise<void> {
    const controllers = this.discovery.getControllers();
    const wrappers = [...controllers, ...this.discovery.getProviders()];
    const hosts = new Map<Type, string>();
    for (const { metatype, host } of wrappers) {
      if (isClass(metatype) && !hosts.has(metatype)) hosts.set(metatype, host?.metatype?.name ?? '');
    }
    const handlers = [...hosts.keys()].map((type) => ({ type, handlers: this.handlersOf(type) }));
    const limited = handlers.filter(
      ({ type, handlers }) => Reflect.hasMetadata(LIMITS, type) || handlers.some((h) => Reflect.hasMetadata(LIMITS, h)),
    );
    const named = new Set(limited.map(({ type }) => type));
    if (this.options.default?.perHandler)
      for (const { metatype } of controllers) if (isClass(metatype)) named.add(metatype);
    this.nameClasses([...named], hosts);
    const inputs = limited.flatMap(({ type, handlers }) => [type, ...handlers].flatMap(inputsOf));
    await this.instances.find(resolversOf([...inputs, ...this.options.inputs]));
    for (const { type, handlers } of limited) for (const handler of handlers) this.of(type, handler);
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
  private nameClasses(types: readonly Type[], hosts: ReadonlyMap<Type, string>): void {
    const taken = new Map<string, Type>();
    for (const type of types) {
      const shared = types.some((other) => other !== type && other.name === type.name);
      const name = shared ? `${hosts.get(type)}.${type.name}` : type.name;
      const other = taken.get(name);
      if (other && [type, other].some((one) => this.hasUnnamed(one))) {
        throw new RateLimitOptionError(
          `Invalid @RateLimit on ${type.name}: \`name\` must be given, since two classes in ${hosts.get(type)} are called ${type.name}`,
        );
      }
      taken.set(name, type);
      this.names.set(type, name);
    }
  }

  private hasUnnamed(type: Type): boolean {
    if (this.options.default?.perHandler) return true;
    return [type, ...this.handlersOf(type)].flatMap(inputsOf).some((input) => {
      if (typeof input === 'object') return input.name === undefined;
      return typeof input === 'function';
    });
  }

  private handlersOf(type: Type): Handler[] {
    const prototype = type.prototype as Record<string, Handler>;
    return this.scanner.getAllMethodNames(prototype).map((name) => prototype[name]);
  }
}

export function isClass(type: unknown): type is Type {
  return typeof type === 'function' && typeof type.prototype === 'object' && type.prototype !== null;
}
