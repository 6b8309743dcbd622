import { type ExecutionContext, Inject, Optional } from '@nestjs/common';

type AnyFunction = ReturnType<ExecutionContext['getHandler']>;

/**
 * The injection token of an application's `MethodCalls`, and the property of instances that Nest injects it into. A
 * global symbol, like the brand: copies of the package understand each other.
 */
export const METHOD_CALLS = Symbol.for('nest-rate-limit:method-calls');
const BRAND = Symbol.for('nest-rate-limit:MethodCalls');

/** A method with `@RateLimit`. */
export interface LimitedMethod {
  /** The prototype of the class that declares it. */
  readonly prototype: object;
  readonly property: string | symbol;
  readonly original: AnyFunction;
  /** Replaces `original`. */
  readonly wrapper: AnyFunction;
  /** Whether Nest routes requests to it, so that the guard limits it; `undefined` until it is called. */
  isRouted?: boolean;
}

/** Limits the calls of methods in one application. */
export abstract class MethodCalls {
  readonly [BRAND] = true;

  /** Calls a method of an instance, as far as its limits allow. */
  abstract call(method: LimitedMethod, instance: object, args: unknown[]): unknown;
}

/** An instance of a class with limited methods; the property is set once the instance belongs to an application. */
export type LimitedInstance = object & { [METHOD_CALLS]?: MethodCalls };

/** Metadata key of the limited methods of a prototype. */
const METHODS = Symbol.for('nest-rate-limit:methods');
type Methods = Map<string | symbol, LimitedMethod>;

/**
 * Replaces a decorated method by one that calls the application of its instance. Without an application, it calls the
 * original. Libraries take methods from instances at different moments, all of them after the decorators have run.
 */
export function limitCalls(prototype: object, property: string | symbol, descriptor: PropertyDescriptor): void {
  const known: Methods = Reflect.getOwnMetadata(METHODS, prototype) ?? new Map();
  if (known.has(property)) return;
  if (!(METHOD_CALLS in prototype)) injectCalls(prototype);
  const original: AnyFunction = descriptor.value;
  const wrapper = function (this: LimitedInstance | undefined, ...args: unknown[]): unknown {
    const calls = method.isRouted ? undefined : this?.[METHOD_CALLS];
    return calls === undefined ? original.apply(this, args) : calls.call(method, this as object, args);
  };
  copyProperties(original, wrapper);
  const method: LimitedMethod = { prototype, property, original, wrapper, isRouted: undefined };
  Reflect.defineMetadata(METHODS, known.set(property, method), prototype);
  descriptor.value = wrapper;
  // For callers that apply the decorator to a descriptor, and do not define it.
  Object.defineProperty(prototype, property, descriptor);
}

/** The limited methods of a class, including inherited ones and those that it overrides. */
export function limitedMethodsOf(prototype: object | null): LimitedMethod[] {
  if (prototype === null) return [];
  const own: Methods | undefined = Reflect.getOwnMetadata(METHODS, prototype);
  return [...(own?.values() ?? []), ...limitedMethodsOf(Object.getPrototypeOf(prototype))];
}

/** Lets Nest inject the application's `MethodCalls` into all instances, also those of subclasses, if there are any. */
function injectCalls(prototype: object): void {
  Optional()(prototype, METHOD_CALLS as unknown as string);
  Inject(METHOD_CALLS)(prototype, METHOD_CALLS);
  Object.defineProperty(prototype, METHOD_CALLS, {
    configurable: true,
    // Not enumerable, so that it appears in no log. Testing modules may inject a mock instead, which limits nothing.
    set(this: object, calls: { [BRAND]?: unknown } | undefined) {
      if (calls?.[BRAND] !== true) return;
      Object.defineProperty(this, METHOD_CALLS, { value: calls, configurable: true, writable: true });
    },
  });
}

/** Name, length and what other decorators have stored, of which some is metadata. */
function copyProperties(from: AnyFunction, to: AnyFunction): void {
  const { prototype: _, ...properties } = Object.getOwnPropertyDescriptors(from) as PropertyDescriptorMap;
  Object.defineProperties(to, properties);
  for (const key of Reflect.getOwnMetadataKeys(from))
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, from), to);
}
