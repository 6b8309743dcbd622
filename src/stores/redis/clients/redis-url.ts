import type { RedisOptions } from 'ioredis';
import { RateLimitOptionError } from '../../../util/option-error.js';
import { parseIoredisOptions } from './ioredis-options.js';

/** Options that have a place in a URL, or cannot be written there. */
const NOT_IN_QUERY = ['host', 'port', 'path', 'tls', 'sentinels'];

/** Whether a string is meant as a URL, or as the path of a Unix socket. */
export function isRedisUrl(target: string): boolean {
  return /^\s*(rediss?:\/\/|\/)./i.test(target);
}

/**
 * Parses `redis://user:password@host:6379/2?connectTimeout=500`, `rediss://…`, or the path of a Unix socket. ioredis
 * would keep the values of the query as strings, and throw outside of any call. No error shows a part of the URL:
 * without percent-encoding, any part may belong to the password.
 */
export function parseRedisUrl(target: string, place: string): RedisOptions {
  const [address, query] = target.trim().split('?', 2);
  const options = { ...parseQuery(query, place), ...parseAddress(address, place) };
  return parseIoredisOptions(options, place);
}

function parseQuery(query: string | undefined, place: string): object {
  const options = Object.fromEntries(new URLSearchParams(query));
  if (query?.includes('@')) throw invalidUrl(PERCENT_ENCODED, place);
  for (const name of NOT_IN_QUERY) {
    if (Object.hasOwn(options, name)) throw invalidUrl(`without \`${name}\` in its query`, place);
  }
  return options;
}

function parseAddress(address: string, place: string): object {
  if (address.startsWith('/')) return { path: address };
  const url = tryParse(address);
  if (!url || url.hash || url.pathname.includes('@')) throw invalidUrl(PERCENT_ENCODED, place);
  const db = url.pathname.slice(1);
  if (!url.hostname) throw invalidUrl('with a host', place);
  if (!/^\d{0,9}$/.test(db)) throw invalidUrl('whose path is the number of a database, such as /2', place);
  return {
    // URLs put brackets around IPv6 addresses.
    host: url.hostname.replace(/^\[|\]$/g, ''),
    ...(url.port && { port: url.port }),
    ...(db && { db }),
    ...(url.username && { username: decode(url.username, place) }),
    ...(url.password && { password: decode(url.password, place) }),
    ...(url.protocol === 'rediss:' && { tls: {} }),
  };
}

const PERCENT_ENCODED = 'with special characters percent-encoded: `encodeURIComponent(password)`';

function invalidUrl(rule: string, place: string): RateLimitOptionError {
  return new RateLimitOptionError(`\`${place}\` must be a redis:// or rediss:// URL ${rule}`);
}

function tryParse(url: string): URL | undefined {
  try {
    return new URL(url);
  } catch {
    return undefined;
  }
}

function decode(text: string, place: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalidUrl(PERCENT_ENCODED, place);
  }
}
