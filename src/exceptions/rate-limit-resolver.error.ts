/** A resolver returned an invalid value. The request fails with this error; it is not a rejection. */
export class RateLimitResolverError extends Error {
  override readonly name = 'RateLimitResolverError';
}
