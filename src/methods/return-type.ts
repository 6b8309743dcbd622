import type { LimitedMethod } from '../policy/limited-method.js';
import { RateLimitOptionError } from '../util/option-error.js';

/** A generator returns its iterator at once, so its calls cannot wait. */
const GENERATOR = /^(Async)?Generator(Function)?$/;

/**
 * The error of a limited method that returns no promise, as far as its metadata shows: TypeScript writes `Object` for a
 * union, and nothing for a method without a declared type.
 */
export function returnTypeError(method: LimitedMethod): RateLimitOptionError | undefined {
  const { prototype, property, original } = method;
  const kind = original.constructor.name;
  const found = GENERATOR.test(kind) ? kind : nameOf(Reflect.getOwnMetadata('design:returntype', prototype, property));
  if (found === undefined) return undefined;
  return new RateLimitOptionError(
    `Invalid @RateLimit on ${prototype.constructor.name}.${String(property)}: a limited method must return a promise, ` +
      `because its calls may be queued, got ${found}. Make it async, or take tokens from a bucket of BucketService in it`,
  );
}

/** The name of a type that is no promise. */
function nameOf(type: unknown): string | undefined {
  if (typeof type !== 'function' || type === Object || type === Promise) return undefined;
  return type.prototype instanceof Promise ? undefined : type.name;
}
