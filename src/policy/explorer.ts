import { type ExecutionContext, Injectable, type Type } from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { METHOD_CALLS } from './limited-method.js';
import { type DecoratorInputs, inputsOfClass, inputsOfMethod, SKIP } from './rate-limit.decorator.js';
import { type PolicyInput, toPolicyInputs } from './rate-limit.options.js';

export type Handler = ReturnType<ExecutionContext['getHandler']>;

/** The limits that decorators declare. */
export interface DeclaredLimits {
  /** Empty for `@SkipRateLimit`. */
  readonly inputs: readonly PolicyInput[];
  readonly from: 'handler' | 'class';
  /** The list of the decorators: the same one for all methods that inherited or copied it. */
  readonly given: DecoratorInputs;
}

/** A method of a controller or provider. */
export interface ExploredMethod {
  readonly type: Type;
  readonly property: string;
  readonly method: Handler;
  /** Whether it has metadata, as all handlers have. */
  readonly isDecorated: boolean;
  /** By its own decorators, or else those of its class; `undefined` if neither declares limits. */
  readonly declared: DeclaredLimits | undefined;
}

/** A controller or provider. */
export interface ExploredClass {
  readonly type: Type;
  /** The Nest module that provides it. */
  readonly moduleName: string;
  readonly isController: boolean;
  /** By its own decorators, or those of a base class. */
  readonly declared: DeclaredLimits | undefined;
  readonly methods: readonly ExploredMethod[];
}

interface Wrapper {
  readonly token?: unknown;
  readonly metatype: unknown;
  readonly instance?: unknown;
  readonly host?: { readonly name: string };
}

/** Metadata key of a handler's property name. Wrappers that replace a method copy its metadata, so they keep its name. */
const PROPERTY = Symbol.for('nest-rate-limit:property');

/** Scans the application once, when it is created, for everything that the module needs. */
@Injectable()
export class Explorer {
  private readonly explored = new Map<Type, ExploredClass>();
  private readonly providers: readonly Wrapper[];

  constructor(discovery: DiscoveryService) {
    this.providers = discovery.getProviders();
    for (const wrapper of discovery.getControllers()) this.add(wrapper, true);
    for (const wrapper of this.providers) this.add(wrapper, false);
  }

  /** All controllers and providers that are classes. */
  get classes(): readonly ExploredClass[] {
    return [...this.explored.values()];
  }

  /** Adds the classes of instances that factories have returned, if they have limited methods. */
  exploreInstances(): void {
    for (const { instance, host } of this.providers) {
      if (!isLimitedInstance(instance)) continue;
      const type = instance.constructor as Type;
      if (!this.explored.has(type)) this.explore(type, host?.name ?? '', false);
    }
  }

  /** The instances of all providers with this token. */
  instancesOf(token: unknown): unknown[] {
    return this.providers.filter((wrapper) => wrapper.token === token).map(({ instance }) => instance);
  }

  /** A class; one that Nest does not know is explored now. */
  classOf(type: Type): ExploredClass {
    return this.explored.get(type) ?? this.explore(type, '', false);
  }

  private add({ metatype, host }: Wrapper, isController: boolean): void {
    if (isNewable(metatype) && !this.explored.has(metatype)) this.explore(metatype, host?.name ?? '', isController);
  }

  private explore(type: Type, moduleName: string, isController: boolean): ExploredClass {
    const ofClass = declaredBy(inputsOfClass(type), 'class');
    const names = new MetadataScanner().getAllMethodNames(type.prototype);
    const methods = names.map((property): ExploredMethod => {
      const method: Handler = type.prototype[property];
      const isDecorated = Reflect.getMetadataKeys(method).length > 0;
      if (isDecorated && !propertyOf(method)) Reflect.defineMetadata(PROPERTY, property, method);
      const declared = declaredBy(inputsOfMethod(type, property), 'handler') ?? ofClass;
      return { type, property, method, isDecorated, declared };
    });
    const explored = { type, moduleName, isController, declared: ofClass, methods };
    this.explored.set(type, explored);
    return explored;
  }
}

function isNewable(type: unknown): type is Type {
  return typeof type === 'function' && typeof type.prototype === 'object' && type.prototype !== null;
}

function isLimitedInstance(instance: unknown): instance is object {
  return typeof instance === 'object' && instance !== null && METHOD_CALLS in instance;
}

/** The limits in the list of a target's decorators; `undefined` if it is empty. */
export function declaredBy(given: DecoratorInputs, from: DeclaredLimits['from']): DeclaredLimits | undefined {
  if (given.length === 0) return undefined;
  return { inputs: given.includes(SKIP) ? [] : given.flatMap(toPolicyInputs), from, given };
}

/** The property name of a handler, or of the method that it wraps; `undefined` if its metadata has been lost. */
export function propertyOf(method: Handler): string | undefined {
  return Reflect.getMetadata(PROPERTY, method);
}
