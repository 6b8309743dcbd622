import type { ExecutionContext } from '@nestjs/common';
import { ClientGoneError, isDisconnected } from '../context/connection.js';
import { readerOf } from '../context/readers.js';
import { BoundedMap } from '../util/bounded-map.js';
import { detachedString } from '../util/detached-string.js';
import { addressKey, isOwnKey } from './address.js';
import { behindPorts, noAddress } from './client-address.js';
import { checkProxy } from './proxy-warning.js';

/** The key of a request that has no client address on its transport: the policy does not apply. */
export const NO_CLIENT = Symbol('no client');

/** Keys of IPv6 addresses seen lately. */
const recent = new BoundedMap<string, string>(10_000);
/** Real addresses are shorter. A forged one, behind a proxy that is trusted too broadly, may not be, and is not cached. */
const MAX_ADDRESS_LENGTH = 64;

/** How many more requests of this process are checked for proxies. */
let checksLeft = 1000;

/** The default key: the client's address on any transport. Without an address an error over HTTP, elsewhere `NO_CLIENT`. */
export function clientKey(context: ExecutionContext): string | symbol {
  const address = readerOf(context).address(context);
  if (address === undefined) return keyWithoutAddress(context);
  if (checksLeft > 0) checkProxyTrust(context, address);
  return isOwnKey(address) ? address : networkKey(context, address);
}

function keyWithoutAddress(context: ExecutionContext): symbol {
  checkConnected(context);
  if (readerOf(context).endsWithResponse) throw noAddress(context);
  return NO_CLIENT;
}

function networkKey(context: ExecutionContext, reported: string): string {
  const address = behindPorts(context, reported);
  if (isOwnKey(address)) return address;
  if (address.length > MAX_ADDRESS_LENGTH) return addressKey(address);
  let key = recent.get(address);
  if (key === undefined) {
    key = addressKey(address);
    recent.set(detachedString(address), detachedString(key));
  }
  return key;
}

/** Warns if a proxy is untrusted, or trusted too broadly. Checks only the first requests of the process. */
export function checkProxyTrust(context: ExecutionContext, address: string): void {
  if (checksLeft === 0) return;
  checksLeft--;
  checkProxy(context, address);
}

/** Throws if the client has disconnected: a closed socket has lost its address, which is no reason to skip a limit. */
export function checkConnected(context: ExecutionContext): void {
  if (isDisconnected(context)) throw new ClientGoneError();
}
