import type { ExecutionContext } from '@nestjs/common';
import { readerOf } from '../context/readers.js';
import { MissingHeaderException } from '../exceptions/rate-limit.exception.js';
import { toKey } from '../util/bounded-key.js';
import { chain, type MaybePromise } from '../util/maybe-promise.js';
import { invalidOption } from '../util/option-error.js';
import { addressKey, DEFAULT_IPV6_SUBNET } from './address.js';
import { clientAddress, noAddress } from './client-address.js';
import { checkConnected, checkProxyTrust } from './client-key.js';
import { invalidKey } from './key.js';
import { MissingUserWarning } from './missing-user-warning.js';

/** Returns the key of the bucket that a request uses; `undefined` if it has none, which is the request's error. */
export type KeyOf = (context: ExecutionContext) => MaybePromise<string | undefined>;

/**
 * Uses the client's address, as the default key does. IPv6 addresses are grouped by network of `ipv6Subnet` bits (32 to
 * 128, default 56), because a client has a whole network of addresses. Unlike with the default key, a request without an
 * address is an error.
 */
export function byIp({ ipv6Subnet = DEFAULT_IPV6_SUBNET }: { ipv6Subnet?: number } = {}): KeyOf {
  if (!Number.isInteger(ipv6Subnet) || ipv6Subnet < 32 || ipv6Subnet > 128) {
    invalidOption('ipv6Subnet', 'a whole number from 32 to 128', ipv6Subnet);
  }
  return (context) => {
    const address = clientAddress(context);
    if (address === undefined) {
      checkConnected(context);
      if (readerOf(context).endsWithResponse) throw noAddress(context);
      return undefined;
    }
    checkProxyTrust(context, address);
    return addressKey(address, ipv6Subnet);
  };
}

/**
 * Uses the value of a header. Clients choose it freely, so it must be one that you verify, such as an API key. Without
 * the header the request is rejected with 400, or uses the key of `otherwise`, prefixed with `@`.
 */
export function byHeader(name: string, otherwise?: KeyOf): KeyOf {
  if (typeof name !== 'string' || !/^[\w!#$%&'*+.^`|~-]+$/.test(name)) {
    invalidOption('name', 'the name of a header', name);
  }
  const header = name.toLowerCase();
  return (context) => {
    const headers = pathOf(readerOf(context).request(context), ['headers']);
    const value = pathOf(headers, [header]);
    const key = idOf(Array.isArray(value) ? value.join(', ') : value);
    if (otherwise) return keyOr(otherwise, key, context);
    if (key === undefined && headers) throw new MissingHeaderException(header);
    return key;
  };
}

/**
 * Uses what your authentication stored in `request.user`: its `id`, or the property at `path` (`'account.id'`), which is
 * a string, a number, or an object with a `toString` of its own, such as an `ObjectId`. The authentication must run
 * first: a middleware (on Fastify it stores `request.raw.user`), or a guard that Nest runs before this one. Other places
 * of a user are `user` and `data.user` of a socket, `request.user` of a socket of socket.io, and `user` of a GraphQL
 * context or of the `extra` of graphql-ws. Without a user the request is an error, or uses the key of `otherwise`,
 * prefixed with `@`.
 */
export function byUser(path = 'id', otherwise?: KeyOf): KeyOf {
  if (typeof path !== 'string' || path === '') invalidOption('path', 'property names separated by dots', path);
  const names = path.split('.');
  const userOf = (context: ExecutionContext) => atUser(context, names, idOf);
  const objectOf = (context: ExecutionContext) => atUser(context, [], (user) => user);
  const warning = new MissingUserWarning(path, objectOf, userOf, otherwise === undefined);
  return warning.watch((context: ExecutionContext) => {
    const user = userOf(context);
    if (user === undefined) warning.check(context);
    return otherwise ? keyOr(otherwise, user, context) : user;
  });
}

/** What `read` returns for the value at `path` of the user, from the first place that has one. */
function atUser<T>(context: ExecutionContext, path: readonly string[], read: (value: unknown) => T): T | undefined {
  const reader = readerOf(context);
  const request = reader.request(context);
  return (
    read(pathOf(request, ['user', ...path])) ??
    read(pathOf(request, ['raw', 'user', ...path])) ??
    read(pathOf(reader.user?.(context), path))
  );
}

/** `key`, or else that of `otherwise`. The two never coincide: a client cannot send what is another client's address. */
function keyOr(otherwise: KeyOf, key: string | undefined, context: ExecutionContext): MaybePromise<string | undefined> {
  if (key !== undefined) return /^[@=]/.test(key) ? `=${key}` : key;
  return chain(otherwise(context), (other) => {
    const text = toKey(other);
    return text === undefined ? other : `@${text}`;
  });
}

/** Combines several keys, such as user and address. If one of them is missing, the request is an error. */
export function byAll(...keys: readonly KeyOf[]): KeyOf {
  if (keys.length === 0) invalidOption('keys', 'at least one', 'none');
  return (context) => {
    // Sequentially: so none rejects unhandled after another one has.
    const parts = keys.reduce<MaybePromise<readonly string[]>>(
      (before, key, i) =>
        chain(before, (resolved) => chain(key(context), (part) => [...resolved, checkPart(i + 1, part, context)])),
      [],
    );
    return chain(parts, JSON.stringify);
  };
}

function checkPart(number: number, part: unknown, context: ExecutionContext): string {
  const text = toKey(part);
  if (text !== undefined) return text;
  return invalidKey(`Part ${number} of byAll on ${context.getClass().name}.${context.getHandler().name}`, part);
}

function pathOf(from: unknown, names: readonly string[]): unknown {
  return names.reduce<unknown>((value, name) => (value as Record<string, unknown> | null | undefined)?.[name], from);
}

/** Whether a value is an object with a `toString` of its own, such as MongoDB's `ObjectId`; a list is not one id. */
function hasOwnText(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return typeof value.toString === 'function' && value.toString !== Object.prototype.toString;
}

function idOf(value: unknown): string | undefined {
  return toKey(hasOwnText(value) ? String(value) : value);
}
