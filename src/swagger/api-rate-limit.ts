/** Metadata key; a global symbol, so that a second copy of this package understands it. */
export const DOCUMENTED = Symbol.for('nest-rate-limit:documented');

/** What is documented of a refusal, where it cannot be known. */
export interface ApiRateLimitOptions {
  /** What is said of the refusal. */
  description?: string;
  /** OpenAPI schema of its body, where `message` or a filter of yours makes another one. */
  schema?: object;
}

/**
 * Handlers that `@RateLimit` or the module's `default` limits are documented by themselves. This is for the others:
 * those that ask `BucketService`; those whose refusal has another body; and, with `false`, those whose refusal shall
 * not be documented. On a method, or on a class for all its handlers.
 */
export function ApiRateLimit(options: ApiRateLimitOptions | false = {}): MethodDecorator & ClassDecorator {
  return (target: object, _property?: string | symbol, descriptor?: PropertyDescriptor) => {
    Reflect.defineMetadata(DOCUMENTED, options, descriptor ? descriptor.value : target);
  };
}
