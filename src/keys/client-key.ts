import type { ExecutionContext } from '@nestjs/common';
import { ClientGoneError, isGone } from '../context/connection.js';
import { transportOf } from '../transport/transports.js';
import { addressKey, isOwnKey } from './address.js';
import { lookForProxy } from './proxy-warning.js';

/** Stands for a key where there is none: outside of HTTP a request may come from nowhere. */
export const NO_CLIENT = Symbol('no client');

/** IPv6 addresses seen lately, as they came, and their keys. A bound, because strangers choose them. */
const known = new Map<string, string>();
const MOST_KNOWN = 10_000;
/** No address is longer, but what a client claims behind a proxy that is trusted too much may be. */
const LONGEST_KNOWN = 64;

/** How many more requests are looked at for a proxy, in this process. */
let looks = 1000;

/**
 * The default key: the client's address, whatever the transport. Where there is none, `undefined` over HTTP, which is
 * an error, and `NO_CLIENT` elsewhere.
 */
export function clientKey(context: ExecutionContext): string | symbol | undefined {
  const address = addressOf(context);
  if (address === undefined) return withoutAddress(context) ?? (context.getType() === 'http' ? undefined : NO_CLIENT);
  if (looks > 0) lookAtWay(context, address);
  if (isOwnKey(address)) return address;
  if (address.length > LONGEST_KNOWN) return addressKey(address);
  let key = known.get(address);
  if (key === undefined) {
    key = addressKey(address);
    if (known.size >= MOST_KNOWN) known.clear();
    known.set(address, key);
  }
  return key;
}

/** The client's address, as its transport tells it; `undefined` where there is none. */
export function addressOf(context: ExecutionContext): string | undefined {
  return transportOf(context).address(context);
}

/** Looks at the way of the first requests whose address is a key: whether a proxy is not trusted, or too much. */
export function lookAtWay(context: ExecutionContext, address: string): void {
  if (looks === 0) return;
  looks--;
  lookForProxy(context, address);
}

/** Nothing. Of a closed socket an error: it has no address any more, and what it left behind must not pass for that. */
export function withoutAddress(context: ExecutionContext): undefined {
  if (isGone(context)) throw new ClientGoneError();
}
