import { RateLimitResolverError } from '../exceptions/rate-limit-resolver.error.js';
import { formatValue } from '../util/option-error.js';

export function isKey(key: unknown): key is string {
  return typeof key === 'string' && key !== '';
}

/** Throws because of an invalid key: requests without a key must not share a bucket. */
export function invalidKey(what: string, key: unknown): never {
  throw new RateLimitResolverError(`${what} must be a non-empty string, got ${formatValue(key)}`);
}
