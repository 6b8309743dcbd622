import { isIP } from 'node:net';

/** IPv6 networks of this size count as one client: what a household usually gets. */
export const DEFAULT_IPV6_SUBNET = 56;

/** The first 96 bits of IPv6 addresses that embed an IPv4 address: mapped (RFC 4291), and NAT64 (RFC 6052). */
const IPV4_PREFIXES: ReadonlySet<string> = new Set([`0:0:0:0:0:${0xffff}`, `${0x64}:${0xff9b}:0:0:0:0`]);

/**
 * Returns the key of a client address: IPv4 unchanged, IPv6 that embeds an IPv4 address as that, other IPv6 as its
 * network of `subnet` bits. `::ffff:203.0.113.7` and `64:ff9b::203.0.113.7` become `203.0.113.7`. Ports, brackets and
 * zones are removed: `[2001:DB8::1]:443` becomes `2001:db8::/56`. Anything else is unchanged.
 */
export function addressKey(address: string, subnet = DEFAULT_IPV6_SUBNET): string {
  if (isOwnKey(address)) return address;
  const bare = bareAddress(address);
  const version = isIP(bare);
  if (version !== 6) return bare || address;
  const groups = parseIPv6(bare);
  if (IPV4_PREFIXES.has(groups.slice(0, 6).join(':'))) {
    return [groups[6] >> 8, groups[6] & 255, groups[7] >> 8, groups[7] & 255].join('.');
  }
  const network = groups.map((group, i) => {
    const bits = Math.min(16, Math.max(0, subnet - 16 * i));
    return group & (0xffff << (16 - bits)) & 0xffff;
  });
  let last = 8;
  while (last > 0 && network[last - 1] === 0) last--;
  const text = network.slice(0, last).map((group) => group.toString(16));
  return `${text.join(':')}${last < 8 ? '::' : ''}/${subnet}`;
}

/** Whether an address is its own key: IPv4, which most requests have, or no address at all. */
export function isOwnKey(address: string): boolean {
  return !address.includes(':') && !address.includes('%') && !address.startsWith('[');
}

/** Without brackets, port and zone. */
export function bareAddress(address: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(address);
  let bare = bracketed ? bracketed[1] : address;
  if (/^\d+\.\d+\.\d+\.\d+:\d+$/.test(bare)) bare = bare.slice(0, bare.indexOf(':'));
  const zone = bare.indexOf('%');
  return zone < 0 ? bare : bare.slice(0, zone);
}

/** The eight groups of a valid IPv6 address. */
function parseIPv6(address: string): number[] {
  const dotted = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const hex = dotted
    ? `${address.slice(0, dotted.index)}${pair(dotted[1], dotted[2])}:${pair(dotted[3], dotted[4])}`
    : address;
  const [head, tail] = hex.split('::');
  const left = groupsOf(head);
  if (tail === undefined) return left;
  const right = groupsOf(tail);
  return [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right];
}

function groupsOf(part: string): number[] {
  return part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
}

function pair(high: string, low: string): string {
  return (Number(high) * 256 + Number(low)).toString(16);
}
