/** Metadata key of `@ApiRateLimit`; a global symbol, so that several copies of this package share it. */
export const API_RATE_LIMIT = Symbol.for('nest-rate-limit:documented');

/** Options of `@ApiRateLimit`: parts of the 429 response that cannot be derived from the policies. */
export interface ApiRateLimitOptions {
  /** Description of the response. Default: a sentence about `Retry-After`. */
  description?: string;
  /** OpenAPI schema of the body, for a custom `message` or exception filter. Default: the body of the exception. */
  schema?: object;
}

/**
 * Documents the 429 response of a handler, or of all handlers of a class, in the OpenAPI document.
 *
 * Handlers limited by `@RateLimit` or by the module's `default` are documented without it. Use it for handlers that
 * call `BucketService`, and for rejections with a custom body. `@ApiRateLimit(false)` omits the response.
 *
 * ```ts
 * @ApiRateLimit({ description: 'The printer is busy' })
 * @Post('print')
 * print() {}
 * ```
 */
export function ApiRateLimit(options: ApiRateLimitOptions | false = {}): MethodDecorator & ClassDecorator {
  return (target: object, _property?: string | symbol, descriptor?: PropertyDescriptor) => {
    Reflect.defineMetadata(API_RATE_LIMIT, options, descriptor ? descriptor.value : target);
  };
}
