import { BlockList, isIP } from 'node:net';
import { BadRequestException, type ExecutionContext } from '@nestjs/common';
import { graphqlRequestOf } from '../context/graphql.js';
import { requestOf } from '../context/http.js';
import { chain, type MaybePromise } from '../util/maybe-promise.js';
import { reject } from '../util/option-error.js';
import { addressKey, bareAddress, DEFAULT_IPV6_SUBNET } from './address.js';
import { addressOf, lookAtWay, withoutAddress } from './client-key.js';
import { isKey, rejectKey } from './key.js';
import { LateUser } from './missing-user-warning.js';

/** Tells whose bucket a request is counted in. `undefined` where it cannot: then the request is an error. */
export type KeyOf = (context: ExecutionContext) => MaybePromise<string | undefined>;

/**
 * By the client's address, as without a key; IPv6 by its network of so many bits (32 to 128, default 56), because a
 * client has a whole network of addresses. Other than without a key, a request that comes from no address is an error:
 * who gives a key wants it to count.
 */
export function byIp({ ipv6Subnet = DEFAULT_IPV6_SUBNET }: { ipv6Subnet?: number } = {}): KeyOf {
  if (!Number.isInteger(ipv6Subnet) || ipv6Subnet < 32 || ipv6Subnet > 128) {
    reject('ipv6Subnet', 'a whole number from 32 to 128', ipv6Subnet);
  }
  return (context) => {
    const address = addressOf(context);
    if (address === undefined) return withoutAddress(context);
    lookAtWay(context, address);
    return addressKey(address, ipv6Subnet);
  };
}

/**
 * By the value of a header. A client chooses it freely, so it must be one that you check, such as an API key. Without
 * it the request is an error (400), or counted by `otherwise`, with `@` before that key.
 */
export function byHeader(name: string, otherwise?: KeyOf): KeyOf {
  if (typeof name !== 'string' || !/^[\w!#$%&'*+.^`|~-]+$/.test(name)) reject('name', 'the name of a header', name);
  const header = name.toLowerCase();
  return (context) => {
    const headers = pathOf(requestLike(context), ['headers']);
    const value = pathOf(headers, [header]);
    const key = idOf(Array.isArray(value) ? value.join(', ') : value);
    if (otherwise) return keyOr(otherwise, key, context);
    const type: string = context.getType();
    // The client's error: one of the server would be logged, with a stack for each such request.
    if (key === undefined && headers && (type === 'http' || type === 'graphql')) {
      throw new BadRequestException(`The header ${header} is missing`);
    }
    return key;
  };
}

/**
 * By what your authentication has left at `request.user`: its `id`, or what `path` leads to (`'account.id'`). It must
 * run before the rate limit: a middleware, or a guard that Nest runs before this one. Without a user the request is an
 * error, or counted by `otherwise`, with `@` before that key.
 */
export function byUser(path = 'id', otherwise?: KeyOf): KeyOf {
  if (typeof path !== 'string' || path === '') reject('path', 'names with dots between them', path);
  const names = ['user', ...path.split('.')];
  const userOf = (context: ExecutionContext) => idOf(pathOf(requestLike(context), names));
  const late = new LateUser(userOf, otherwise === undefined);
  return (context) => {
    const user = userOf(context);
    if (user === undefined) late.look(context);
    return otherwise ? keyOr(otherwise, user, context) : user;
  };
}

/** `key`, or else that of `otherwise`. They never are the same: nobody can send what is another's address. */
function keyOr(otherwise: KeyOf, key: string | undefined, context: ExecutionContext): MaybePromise<string | undefined> {
  if (key !== undefined) return /^[@=]/.test(key) ? `=${key}` : key;
  return chain(otherwise(context), (other) => (isKey(other) ? `@${other}` : other));
}

/** By all of them together, such as the user and the address. Where one cannot tell, the request is an error. */
export function byAll(...keys: readonly KeyOf[]): KeyOf {
  if (keys.length === 0) reject('keys', 'at least one', 'none');
  return (context) => {
    // One after the other: so none fails late, when another has failed already and nobody listens.
    const parts = keys.reduce<MaybePromise<readonly string[]>>(
      (before, key, i) =>
        chain(before, (told) => chain(key(context), (part) => [...told, checkPart(i + 1, part, context)])),
      [],
    );
    return chain(parts, JSON.stringify);
  };
}

function checkPart(number: number, part: unknown, context: ExecutionContext): string {
  if (isKey(part)) return part;
  return rejectKey(`Part ${number} of byAll on ${context.getClass().name}.${context.getHandler().name}`, part);
}

/**
 * For `skip`: whether the client's address is one of these addresses or networks (`'10.0.0.0/8'`, `'2001:db8::/32'`).
 * A wrong one is an error at once.
 */
export function fromAddresses(...addresses: readonly string[]): (context: ExecutionContext) => boolean {
  const list = new BlockList();
  for (const entry of addresses) addTo(list, entry);
  return (context) => {
    const address = bareAddress(addressOf(context) ?? '').replace(/^::ffff:(?=\d+\.)/i, '');
    const version = isIP(address);
    return version > 0 && list.check(address, version === 6 ? 'ipv6' : 'ipv4');
  };
}

function addTo(list: BlockList, entry: unknown): void {
  const [address, bits, ...rest] = typeof entry === 'string' ? entry.split('/') : [''];
  const version = isIP(address);
  const length = bits === undefined ? undefined : Number(bits);
  const longest = version === 6 ? 128 : 32;
  const fits = length === undefined || (/^\d+$/.test(bits) && length <= longest);
  if (version === 0 || !fits || rest.length > 0)
    reject('address', 'an address, or a network such as 10.0.0.0/8', entry);
  const family = version === 6 ? 'ipv6' : 'ipv4';
  if (length === undefined) list.addAddress(address, family);
  else list.addSubnet(address, length, family);
}

/** What carries headers and user: the request, over HTTP and GraphQL; the socket or its handshake; a message's data. */
function requestLike(context: ExecutionContext): unknown {
  const type: string = context.getType();
  if (type === 'http') return requestOf(context);
  if (type === 'graphql') return graphqlRequestOf(context);
  const first = context.getArgByIndex<Record<string, unknown> | undefined>(0);
  if (type !== 'ws') return first;
  return { headers: pathOf(first, ['handshake', 'headers']), user: first?.user ?? pathOf(first, ['data', 'user']) };
}

function pathOf(from: unknown, names: readonly string[]): unknown {
  return names.reduce<unknown>((value, name) => (value as Record<string, unknown> | null | undefined)?.[name], from);
}

function idOf(value: unknown): string | undefined {
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  return typeof value === 'string' && value !== '' ? value : undefined;
}
