import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { BadRequestException, Logger } from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { byAll, byHeader, byIp, byUser, fromAddresses, RateLimitResolverError } from 'nest-rate-limit';

function http(request: object): ExecutionContextHost {
  return of('http', request, {});
}

class Resource {
  get() {}
}

function of(type: string, ...args: unknown[]): ExecutionContextHost {
  const context = new ExecutionContextHost(args, Resource, Resource.prototype.get);
  context.setType(type);
  return context;
}

const ADA = { ip: '2001:db8:1:234::1', headers: { 'x-api-key': 'k1' }, user: { id: 7, account: { id: 'a' } } };

beforeEach(() => void jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {}));
afterEach(() => void jest.restoreAllMocks());

describe('byIp', () => {
  it.each([
    [undefined, '2001:db8:1:200::/56'],
    [64, '2001:db8:1:234::/64'],
    [32, '2001:db8::/32'],
    [128, '2001:db8:1:234:0:0:0:1/128'],
  ])('truncates IPv6 addresses to a prefix of %p bits', (ipv6Subnet, key) => {
    expect(byIp({ ipv6Subnet })(http(ADA))).toBe(key);
  });

  it.each([31, 129, 56.5, '56'])('rejects a prefix of %p bits', (ipv6Subnet) => {
    expect(() => byIp({ ipv6Subnet: ipv6Subnet as number })).toThrow(
      /^`ipv6Subnet` must be a whole number from 32 to 128/,
    );
  });
});

describe('byHeader', () => {
  it.each([
    ['X-Api-Key', { 'x-api-key': 'k1' }, 'k1'],
    ['x-api-key', { 'x-api-key': ['k1', 'k2'] }, 'k1, k2'],
  ])('maps header %s of %j to %p', (name, headers, key) => {
    expect(byHeader(name)(http({ headers }))).toBe(key);
  });

  it.each([
    ['HTTP', http({ headers: {} })],
    ['HTTP, empty', http({ headers: { 'x-api-key': '' } })],
    ['GraphQL', of('graphql', {}, {}, { req: { headers: {} } }, {})],
  ])('throws a BadRequestException if the header is missing: %s', (_case, context) => {
    expect(() => byHeader('X-Api-Key')(context)).toThrow(new BadRequestException('The header x-api-key is missing'));
  });

  it('rejects messages without the header as it rejects requests', () => {
    const missing = new BadRequestException('The header x-api-key is missing');
    expect(() => byHeader('x-api-key')(of('ws', { handshake: { headers: {} } }))).toThrow(missing);
    expect(() => byHeader('x-api-key')(of('rpc', { headers: {} }))).toThrow(missing);
  });

  it('uses the fallback key for requests without the header', () => {
    expect(byHeader('x-api-key', byIp())(http({ ip: '203.0.113.7', headers: {} }))).toBe('@203.0.113.7');
  });

  it('returns undefined for requests that have no headers object', () => {
    expect(byHeader('x-api-key')(http({}))).toBeUndefined();
    expect(byHeader('x-api-key')(of('rpc', null))).toBeUndefined();
  });

  it.each(['', 'a b', 'a:b', 'ä'])('rejects the name %p', (name) => {
    expect(() => byHeader(name)).toThrow(/^`name` must be the name of a header, got /);
  });
});

describe('byUser', () => {
  it.each([
    [undefined, '7'],
    ['account.id', 'a'],
    ['account.name', undefined],
    ['account', undefined],
  ])('reads path %p of the user as %p', (path, key) => {
    expect(byUser(path)(http(ADA))).toBe(key);
  });

  it('finds the user of each transport', () => {
    expect(byUser()(of('graphql', {}, {}, { req: ADA }, {}))).toBe('7');
    expect(byUser()(of('ws', { data: { user: { id: 8 } } }, {}))).toBe('8');
    expect(byUser()(of('rpc', { user: { id: 9 } }, {}))).toBe('9');
  });

  it.each([
    ['the request of a socket', of('ws', { request: { user: { id: 8 } } }, {}), '8'],
    ['a socket rather than its request', of('ws', { user: { id: 1 }, request: { user: { id: 8 } } }, {}), '1'],
    ['a GraphQL context', of('graphql', {}, {}, { user: { id: 4 } }, {}), '4'],
    ['a request rather than the GraphQL context', of('graphql', {}, {}, { req: ADA, user: { id: 4 } }, {}), '7'],
    ['the extra of graphql-ws', of('graphql', {}, {}, { extra: { user: { id: 3 }, request: {} } }, {}), '3'],
    ['the extra in the request of a context', of('graphql', {}, {}, { req: { extra: { user: { id: 3 } } } }, {}), '3'],
    ['nothing that a client sends', of('ws', { handshake: { auth: { user: { id: 2 } } } }, {}), undefined],
    ['no parameters of a connection', of('graphql', {}, {}, { connectionParams: { user: { id: 2 } } }, {}), undefined],
  ])('reads the user of %s', (_place, context, key) => {
    expect(byUser()(context)).toBe(key);
  });

  it.each<[unknown, string | undefined]>([
    [0, '0'],
    [9007199254740993n, '9007199254740993'],
    [{ toString: () => '507f1f77bcf86cd799439011' }, '507f1f77bcf86cd799439011'],
    [
      new (class ObjectId {
        toString = () => '507f1f77';
      })(),
      '507f1f77',
    ],
    [{ toString: () => '' }, undefined],
    [Object.create(null), undefined],
    [NaN, undefined],
    [Infinity, undefined],
    [{ a: 1 }, undefined],
    [[1, 2], undefined],
    [null, undefined],
    [true, undefined],
  ])('turns the id %p into the key %p', (id, key) => {
    expect(byUser()(http({ user: { id } }))).toBe(key);
  });

  it('finds the user that a middleware stored in the raw request of Fastify', () => {
    expect(byUser()(http({ raw: { user: { id: 5 } } }))).toBe('5');
    expect(byUser()(http({ user: { id: 6 }, raw: { user: { id: 5 } } }))).toBe('6');
  });

  it('uses the fallback key for requests without a user', () => {
    expect(byUser('id', byIp())(http({ ip: '203.0.113.7' }))).toBe('@203.0.113.7');
  });
});

describe('Keys with a fallback', () => {
  const headers = { 'x-api-key': 'k1' };
  const ip = '203.0.113.7';
  const nested = byUser('id', byHeader('x-api-key', byIp()));

  it.each([
    [{ user: { id: 'ada' }, headers, ip }, 'ada'],
    [{ headers, ip }, '@k1'],
    [{ headers: {}, ip }, '@@203.0.113.7'],
  ])('prefixes one `@` per fallback: %j', (request, key) => {
    expect(nested(http(request))).toBe(key);
  });

  it('never produces the same key from two sources, whatever a client sends', () => {
    const values = [
      '203.0.113.7',
      '@203.0.113.7',
      '@@203.0.113.7',
      '=@203.0.113.7',
      '=203.0.113.7',
      '@=@203.0.113.7',
      '@=203.0.113.7',
    ];
    const requests = [
      ...values.map((id) => ({ user: { id } })),
      ...values.map((value) => ({ headers: { 'x-api-key': value } })),
      { headers: {}, ip },
    ];
    expect(new Set(requests.map((request) => nested(http(request)))).size).toBe(requests.length);
  });

  it.each([
    ['=', '=='],
    ['@ada', '=@ada'],
    ['a@b', 'a@b'],
  ])('escapes %s as %s, and leaves it unchanged without a fallback', (id, key) => {
    expect(byUser('id', byIp())(http({ user: { id } }))).toBe(key);
    expect(byUser()(http({ user: { id } }))).toBe(id);
  });

  it('awaits an async fallback', async () => {
    expect(await byUser('id', async () => 'later')(http({}))).toBe('@later');
  });

  it.each([undefined, null, '', Number.NaN, {}])('returns %p unchanged from the fallback', (other) => {
    expect(byUser('id', () => other as undefined)(http({}))).toBe(other);
  });

  it.each([
    [7, '@7'],
    [7n, '@7'],
  ])('separates the number %p of the fallback from a user with that id', (other, key) => {
    expect(byUser('id', () => other as unknown as string)(http({}))).toBe(key);
    expect(byUser('id', byIp())(http({ user: { id: 7 } }))).toBe('7');
  });
});

describe('byAll', () => {
  it('returns distinct keys for distinct combinations', () => {
    const key = byAll(byHeader('a'), byHeader('b'));
    const of = (a: string, b: string) => key(http({ headers: { a, b } }));
    expect(new Set([of('x', 'y:z'), of('x:y', 'z'), of('x","y', 'z'), of('x', 'y","z')]).size).toBe(4);
  });

  it.each([
    [undefined, 'undefined'],
    [null, 'null'],
    ['', "''"],
    [[7], '[7]'],
  ])('throws an error that names the part if its key is %p', async (part, shown) => {
    const error = new RateLimitResolverError(
      `Part 2 of byAll on Resource.get must be a non-empty string, got ${shown}`,
    );
    expect(() => byAll(byIp(), () => part as undefined)(http(ADA))).toThrow(error);
    await expect(byAll(byIp(), async () => part as undefined)(http(ADA))).rejects.toThrow(error);
  });

  it.each([7, 7n])('accepts the number %p as the key of a part', (part) => {
    expect(byAll(byIp(), () => part as unknown as string)(http({ ip: '203.0.113.7' }))).toBe('["203.0.113.7","7"]');
  });

  it('awaits async parts', async () => {
    const account = async () => 'ada';
    expect(await byAll(account, byIp(), account)(http({ ip: '203.0.113.7' }))).toBe('["ada","203.0.113.7","ada"]');
  });

  it('resolves no further part after one fails, so that no rejection is left unhandled', async () => {
    const further = jest.fn(() => 'ada');
    const failing = () => Promise.reject(new Error('no account'));
    await expect(byAll(failing, further)(http(ADA))).rejects.toThrow('no account');
    expect(further).not.toHaveBeenCalled();
  });

  it('rejects an empty list of keys', () => {
    expect(() => byAll()).toThrow("`keys` must be at least one, got 'none'");
  });
});

describe('fromAddresses', () => {
  const inAllowlist = fromAddresses('10.0.0.0/8', '203.0.113.7', '2001:db8::/32');

  it.each([
    ['10.1.2.3', true],
    ['::ffff:10.1.2.3', true],
    ['::ffff:a01:203', true],
    ['64:ff9b::10.1.2.3', false],
    ['[2001:db8:5::1]:443', true],
    ['203.0.113.7', true],
    ['203.0.113.8', false],
    ['11.0.0.1', false],
    ['2001:db9::1', false],
    ['unknown', false],
    [undefined, false],
  ])('matches %p: %p', (ip, expected) => {
    expect(inAllowlist(http({ ip }))).toBe(expected);
  });

  it.each(['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '10.0.0', 'localhost', '', 7])('rejects %p', (entry) => {
    expect(() => fromAddresses(entry as string)).toThrow(/^`address` must be an IP address or a CIDR range/);
  });
});
