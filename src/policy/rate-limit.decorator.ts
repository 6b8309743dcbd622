import type { Type } from '@nestjs/common';
import { methodsOf } from './explorer.js';
import type { RateLimitInput } from './rate-limit.options.js';

/** Metadata key: what the decorators of a target were given. A global symbol, so that a second copy understands it. */
export const LIMITS = Symbol.for('nest-rate-limit:limits');
/** Stands there for `@SkipRateLimit`. */
export const SKIP = Symbol.for('nest-rate-limit:skip');

/**
 * Limits a handler, or all handlers of a class together.
 *
 * ```ts
 * @RateLimit({ duration: 10, unit: TimeUnit.SECONDS, maxRequest: 2 }) // sliding window: 2 in any 10 seconds
 * @RateLimit({ capacity: 20, refill: 10, unit: TimeUnit.MINUTES })    // token bucket: 20 at once, 10 per minute
 * @RateLimit('uploads')                                               // the policy of that name in `forRoot`
 * ```
 *
 * Takes one set of options, a list of them, the name of a policy, or a resolver (a function or an injectable class)
 * that gives a name or options per request. Several decorators on one target add up. A method's decorators replace
 * those of its class.
 */
export function RateLimit(limits: RateLimitInput): MethodDecorator & ClassDecorator {
  return decorator(limits);
}

/** Switches every limit off, for a handler or for all handlers of a class that have no `@RateLimit` of their own. */
export function SkipRateLimit(): MethodDecorator & ClassDecorator {
  return decorator(SKIP);
}

/** Of a method the place in its class is decorated, too: another decorator may put another function there. */
function decorator(given: RateLimitInput | typeof SKIP): MethodDecorator & ClassDecorator {
  const decorate = (target: object, property?: string | symbol) => {
    const others = Reflect.getOwnMetadata(LIMITS, target, property as string) ?? [];
    // Decorators run from the bottom up; the list reads from the top down.
    Reflect.defineMetadata(LIMITS, [given, ...others], target, property as string);
  };
  return (target: object, property?: string | symbol, descriptor?: PropertyDescriptor) => {
    decorate(descriptor ? descriptor.value : target);
    if (descriptor) decorate(target, property);
  };
}

/** Decorates methods that have come to stand in the place of decorated ones, and were not told of it. */
export function redecorate(type: Type): void {
  for (const [name, method] of methodsOf(type)) {
    let owner = type.prototype;
    while (!Object.hasOwn(owner, name)) owner = Object.getPrototypeOf(owner);
    const given = Reflect.getOwnMetadata(LIMITS, owner, name) ?? [];
    const known = Reflect.getOwnMetadata(LIMITS, method) ?? [];
    if (given.length > known.length) Reflect.defineMetadata(LIMITS, given, method);
  }
}
