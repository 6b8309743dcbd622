import { createHash } from 'node:crypto';

const MAX_LENGTH = 256;

/** A value as a key: a non-empty string, or a finite number or bigint, which becomes its digits; otherwise `undefined`. */
export function toKey(value: unknown): string | undefined {
  return typeof value === 'string' ? value || undefined : numberKey(value);
}

function numberKey(value: unknown): string | undefined {
  return typeof value === 'bigint' || Number.isFinite(value) ? String(value) : undefined;
}

/**
 * A key of bounded length. Clients make up keys, which are kept in memory: one of more than 256 characters is replaced
 * by its hash. So is one that begins as hashes do; otherwise a client could send the hash of another client's key.
 */
export function boundKey(key: string): string {
  return key.length <= MAX_LENGTH && key[0] !== '%' ? key : hashKey(key);
}

/** A short string that identifies a key of any length; begins with `%`. */
export function hashKey(key: string): string {
  // UTF-16, because two keys with different lone surrogates are the same in UTF-8.
  return `%${createHash('sha256').update(Buffer.from(key, 'utf16le')).digest('base64url')}`;
}
