import { brand } from '../util/brand.js';

/** A resolver returned an invalid value. The request fails with this error; it is not a rejection. */
export class RateLimitResolverError extends Error {
  static {
    brand(this, 'RateLimitResolverError');
  }

  override readonly name = 'RateLimitResolverError';
}
