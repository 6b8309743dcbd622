import type { Type } from '@nestjs/common';
import { RateLimitOptionError } from '../util/option-error.js';
import { limitCalls } from './limited-method.js';
import type { RateLimitInput } from './rate-limit.options.js';

/** Metadata key of the arguments of a target's decorators. A global symbol, so that a second copy understands it. */
const LIMITS = Symbol.for('nest-rate-limit:limits');
/** The argument of `@SkipRateLimit`. */
export const SKIP = Symbol.for('nest-rate-limit:skip');

/** What the decorators of one target were given, from top to bottom. */
export type DecoratorInputs = readonly (RateLimitInput | typeof SKIP)[];

/**
 * Limits a handler, the calls of a provider's method, or all handlers of a class together.
 *
 * ```ts
 * @RateLimit({ duration: 10, unit: TimeUnit.SECONDS, maxRequest: 2 }) // sliding window: 2 in any 10 seconds
 * @RateLimit({ capacity: 20, refill: 10, unit: TimeUnit.MINUTES })    // token bucket: 20 at once, 10 per minute
 * @RateLimit('uploads')                                               // the policy of that name in `forRoot`
 * ```
 *
 * Accepts options, a list of options, the name of a policy, or a resolver (a function or an injectable class) that
 * returns a name or options per request. Several decorators on one target are combined: a request must satisfy all of them. A method's decorators replace those of
 * its class.
 *
 * A method that is no handler, such as one of a service, a job or a queue's worker, must return a promise: a call that is
 * denied rejects with `RateLimitExceededException`. All its calls share one bucket, unless `key` is set.
 */
export function RateLimit(limits: RateLimitInput): MethodDecorator & ClassDecorator {
  return decorator(limits);
}

/** Exempts a handler, or all handlers of a class that have no `@RateLimit` of their own, from every limit. */
export function SkipRateLimit(): MethodDecorator & ClassDecorator {
  return decorator(SKIP);
}

/** Stores the inputs of a method on both its function and its property, because another decorator may replace the function. */
function decorator(input: RateLimitInput | typeof SKIP): MethodDecorator & ClassDecorator {
  const decorate = (target: object, property?: string | symbol) => {
    const others = Reflect.getOwnMetadata(LIMITS, target, property as string) ?? [];
    // Decorators run from the bottom up; the list reads from the top down.
    Reflect.defineMetadata(LIMITS, [input, ...others], target, property as string);
  };
  return (target: object, property?: string | symbol, descriptor?: PropertyDescriptor) => {
    if (property !== undefined) checkMethod(target, property, descriptor);
    decorate(descriptor ? descriptor.value : target);
    if (!descriptor || property === undefined) return;
    decorate(target, property);
    if (input !== SKIP) limitCalls(target, property, descriptor);
  };
}

/** Throws unless a decorated member is a method of instances: no other calls are limited. */
function checkMethod(target: object, property: string | symbol, descriptor: PropertyDescriptor | undefined): void {
  const isStatic = typeof target === 'function';
  if (!isStatic && typeof descriptor?.value === 'function') return;
  let found = descriptor ? 'an accessor' : 'a property';
  if (isStatic) found = 'a static member';
  const { name } = isStatic ? target : target.constructor;
  throw new RateLimitOptionError(
    `Invalid @RateLimit or @SkipRateLimit on ${name}.${String(property)}: it must be on a class or a method, got ${found}`,
  );
}

/** The inputs of a class, or else of the nearest base class that is decorated. */
export function inputsOfClass(type: Type): DecoratorInputs {
  return Reflect.getMetadata(LIMITS, type) ?? [];
}

/** The inputs of a method, stored on its property or its function: whichever list is longer. */
export function inputsOfMethod({ prototype }: Type, property: string | symbol): DecoratorInputs {
  let owner = prototype;
  while (!Object.hasOwn(owner, property)) owner = Object.getPrototypeOf(owner);
  const ofProperty: DecoratorInputs = Reflect.getOwnMetadata(LIMITS, owner, property) ?? [];
  const ofFunction: DecoratorInputs = Reflect.getMetadata(LIMITS, prototype[property]) ?? [];
  return ofProperty.length > ofFunction.length ? ofProperty : ofFunction;
}
