import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { addressKey } from 'nest-rate-limit';

/** Returns the address with all 32 hexadecimal digits. */
function expanded(address: ipaddr.IPv6): string {
  return address.parts.map((group) => group.toString(16).padStart(4, '0')).join(':');
}

describe('addressKey', () => {
  it.each([
    ['203.0.113.7', '203.0.113.7'],
    ['203.0.113.7:51234', '203.0.113.7'],
    ['[203.0.113.7]', '203.0.113.7'],
    ['203.0.113.7%eth0', '203.0.113.7'],
    ['255.255.255.255', '255.255.255.255'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['::FFFF:cb00:7107', '203.0.113.7'],
    ['0:0:0:0:0:ffff:203.0.113.7', '203.0.113.7'],
    ['[::ffff:203.0.113.7]:443', '203.0.113.7'],
    ['64:ff9b::203.0.113.7', '203.0.113.7'],
    ['64:ff9b:0:0:0:0:cb00:7107', '203.0.113.7'],
    ['64:ff9b:1::203.0.113.7', '64:ff9b:1::/56'],
    ['2001:db8:1:2ff:1:2:3:4', '2001:db8:1:200::/56'],
    ['2001:DB8:1:200::', '2001:db8:1:200::/56'],
    ['2001:db8:1:2fe:ffff:ffff:ffff:ffff', '2001:db8:1:200::/56'],
    ['2001:db8:1:300::', '2001:db8:1:300::/56'],
    ['[2001:db8::1]', '2001:db8::/56'],
    ['[2001:db8::1]:443', '2001:db8::/56'],
    ['fe80::1%eth0', 'fe80::/56'],
    ['fe80::1%25eth0', 'fe80::/56'],
    ['[fe80::1%eth0]:80', 'fe80::/56'],
    ['::1', '::/56'],
    ['::', '::/56'],
    ['::ffff:0:203.0.113.7', '::/56'],
    ['0:0:1::', '0:0:1::/56'],
    ['1:2:3:4:5:6:203.0.113.7', '1:2:3::/56'],
  ])('maps %s to %s', (address, key) => {
    expect(addressKey(address)).toBe(key);
  });

  it.each([
    '',
    'unknown',
    '%x',
    '[]',
    '_hidden',
    'localhost:80',
    '203.0.113',
    '203.0.113.7.9',
    '1.2.3.4:x',
    '[1.2.3.4',
    '2001:db8',
    ':::',
    '1::2::3',
    'g::1',
    '/tmp/socket',
    '203.0.113.256',
    '010.0.0.1',
  ])('returns a string that is not an address unchanged: %j', (address) => {
    expect(addressKey(address)).toBe(address);
  });

  it('supports every IPv6 prefix length', () => {
    const all = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';
    expect(addressKey(all, 128)).toBe(`${all}/128`);
    expect(addressKey(all, 64)).toBe('ffff:ffff:ffff:ffff::/64');
    expect(addressKey(all, 33)).toBe('ffff:ffff:8000::/33');
    expect(addressKey(all, 1)).toBe('8000::/1');
    expect(addressKey(all, 0)).toBe('::/0');
  });

  const octets = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255));

  it('normalizes every notation of an IPv4 address to dotted decimal', () => {
    fc.assert(
      fc.property(octets, fc.nat(65535), (parts, port) => {
        const text = parts.join('.');
        const hex = ipaddr.IPv4.parse(text).toIPv4MappedAddress();
        const forms = [
          text,
          `${text}:${port}`,
          `[${text}]`,
          `${text}%eth0`,
          `::ffff:${text}`,
          hex.toString(),
          hex.toNormalizedString(),
          expanded(hex).toUpperCase(),
          `[${hex.toString()}]:${port}`,
        ];
        for (const form of forms) expect(addressKey(form)).toBe(text);
      }),
    );
  });

  it('maps every notation of an IPv6 address to its network', () => {
    const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
    const sparse = fc
      .tuple(bytes, fc.array(fc.nat(15)))
      .map(([all, zeros]) => all.map((byte, i) => (zeros.includes(i) ? 0 : byte)));
    fc.assert(
      fc.property(fc.oneof(bytes, sparse), fc.integer({ min: 0, max: 128 }), fc.nat(65535), (raw, subnet, port) => {
        const address = new ipaddr.IPv6([...raw]);
        fc.pre(!address.isIPv4MappedAddress());
        const network = ipaddr.IPv6.networkAddressFromCIDR(`${address.toNormalizedString()}/${subnet}`);
        const forms = [
          address.toString(),
          address.toNormalizedString(),
          expanded(address).toUpperCase(),
          `[${address}]`,
          `[${address}]:${port}`,
          `${address}%eth0`,
        ];
        for (const form of forms) {
          const [text, size] = addressKey(form, subnet).split('/');
          expect(ipaddr.IPv6.parse(text).toNormalizedString()).toBe(network.toNormalizedString());
          expect(size).toBe(`${subnet}`);
        }
        // All notations share one key.
        expect(new Set(forms.map((form) => addressKey(form, subnet))).size).toBe(1);
      }),
    );
  });

  it('never throws, and returns at most 5 characters more than its input', () => {
    const near = fc.string({ unit: fc.constantFrom(...'0123456789abcdef:.[]%/'), maxLength: 50 });
    fc.assert(
      fc.property(fc.oneof(near, fc.string()), (text) => {
        expect(addressKey(text).length).toBeLessThanOrEqual(text.length + 5);
      }),
      { numRuns: 2000 },
    );
  });
});
