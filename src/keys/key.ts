import { hashKey } from '../util/hash-key.js';
import { show } from '../util/option-error.js';

const LONGEST = 256;

/**
 * A key of bounded length. Keys come from strangers and are kept in memory: one of more than 256 characters is replaced
 * by its hash. So is one that begins as hashes do, or somebody could write down the hash of another's key.
 */
export function boundKey(key: string): string {
  return key.length <= LONGEST && key[0] !== '%' ? key : hashKey(key);
}

/** A resolver gave what cannot be used; the request's error, not a refusal. */
export class RateLimitResolverError extends Error {
  override readonly name = 'RateLimitResolverError';
}

export function isKey(key: unknown): key is string {
  return typeof key === 'string' && key !== '';
}

/** Fails because of what is no key: those who have none would share a bucket. */
export function rejectKey(what: string, key: unknown): never {
  throw new RateLimitResolverError(`${what} must be a text of at least one character, got ${show(key)}`);
}
