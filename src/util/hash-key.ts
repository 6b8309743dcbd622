import { createHash } from 'node:crypto';

/** A short text that stands for a key of any length; begins with `%`. */
export function hashKey(key: string): string {
  // UTF-16, because two keys with different lone surrogates are one in UTF-8.
  return `%${createHash('sha256').update(Buffer.from(key, 'utf16le')).digest('base64url')}`;
}
