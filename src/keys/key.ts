import { RateLimitResolverError } from '../exceptions/rate-limit-resolver.error.js';
import { formatValue } from '../util/option-error.js';

/** Throws because of an invalid key: requests without a key must not share a bucket. */
export function invalidKey(what: string, key: unknown): never {
  const rule = typeof key === 'number' ? 'a non-empty string or a finite number' : 'a non-empty string';
  throw new RateLimitResolverError(`${what} must be ${rule}, got ${formatValue(key)}`);
}
