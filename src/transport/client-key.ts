import type { ExecutionContext } from '@nestjs/common';
import { ClientGoneError, isGone } from '../suspend/client.js';
import { addressKey } from './address.js';
import { transportOf } from './transports.js';

/** Stands for a key where there is none: outside of HTTP a request may come from nowhere. */
export const NO_CLIENT = Symbol('no client');

/** Addresses seen lately, as they came, and their keys. A bound, because strangers choose them. */
const known = new Map<string, string>();
const MOST_KNOWN = 10_000;
/** No address is longer, but what a client claims behind a proxy that is trusted too much may be. */
const LONGEST_KNOWN = 64;

/**
 * The default key: the client's address, whatever the transport. Where there is none, `undefined` over HTTP, which is
 * an error, and `NO_CLIENT` elsewhere.
 */
export function clientKey(context: ExecutionContext): string | symbol | undefined {
  const address = addressOf(context);
  if (address === undefined) return withoutAddress(context);
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

function withoutAddress(context: ExecutionContext): symbol | undefined {
  if (context.getType() === 'http') return undefined;
  // A closed socket has no address any more, and what it has left behind must not pass for that.
  if (isGone(context)) throw new ClientGoneError();
  return NO_CLIENT;
}
