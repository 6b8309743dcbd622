import { BlockList, isIP } from 'node:net';
import type { ExecutionContext } from '@nestjs/common';
import { invalidOption } from '../util/option-error.js';
import { bareAddress } from './address.js';
import { clientAddress } from './client-address.js';

/**
 * Returns a predicate for `skip`: whether the client's address is one of the given addresses or in one of the CIDR ranges
 * (`'10.0.0.0/8'`, `'2001:db8::/32'`). Throws a `RateLimitOptionError` if one of them is invalid.
 *
 * ```ts
 * RateLimitModule.forRoot({ skip: fromAddresses('10.0.0.0/8', '2001:db8::/32') })
 * ```
 */
export function fromAddresses(...addresses: readonly string[]): (context: ExecutionContext) => boolean {
  const list = new BlockList();
  for (const entry of addresses) addTo(list, entry);
  return (context) => {
    const address = bareAddress(clientAddress(context) ?? '');
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
  if (version === 0 || !fits || rest.length > 0) {
    invalidOption('address', 'an IP address or a CIDR range such as 10.0.0.0/8', entry);
  }
  const family = version === 6 ? 'ipv6' : 'ipv4';
  if (length === undefined) list.addAddress(address, family);
  else list.addSubnet(address, length, family);
}
