import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { BadRequestException, Logger } from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { byAll, byHeader, byIp, byUser, fromAddresses, RateLimitResolverError } from 'nest-rate-limit';

/** The context of an HTTP request. */
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
  ])('counts IPv6 by a network of %p bits', (ipv6Subnet, key) => {
    expect(byIp({ ipv6Subnet })(http(ADA))).toBe(key);
  });

  it.each([31, 129, 56.5, '56'])('refuses a network of %p bits', (ipv6Subnet) => {
    expect(() => byIp({ ipv6Subnet: ipv6Subnet as number })).toThrow(
      /^`ipv6Subnet` must be a whole number from 32 to 128/,
    );
  });
});

describe('byHeader', () => {
  it.each([
    ['X-Api-Key', { 'x-api-key': 'k1' }, 'k1'],
    ['x-api-key', { 'x-api-key': ['k1', 'k2'] }, 'k1, k2'],
  ])('%s of %j is %p', (name, headers, key) => {
    expect(byHeader(name)(http({ headers }))).toBe(key);
  });

  it.each([
    ['HTTP', http({ headers: {} })],
    ['HTTP, empty', http({ headers: { 'x-api-key': '' } })],
    ['GraphQL', of('graphql', {}, {}, { req: { headers: {} } }, {})],
  ])('lets its absence be an error of the client: %s', (_case, context) => {
    expect(() => byHeader('X-Api-Key')(context)).toThrow(new BadRequestException('The header x-api-key is missing'));
  });

  it('tells nothing of messages, which are answered in other ways', () => {
    expect(byHeader('x-api-key')(of('ws', { handshake: { headers: {} } }))).toBeUndefined();
  });

  it('counts otherwise who sends none', () => {
    expect(byHeader('x-api-key', byIp())(http({ ip: '203.0.113.7', headers: {} }))).toBe('@203.0.113.7');
  });

  it('does not stumble over a request without headers', () => {
    expect(byHeader('x-api-key')(http({}))).toBeUndefined();
    expect(byHeader('x-api-key')(of('rpc', null))).toBeUndefined();
  });

  it.each(['', 'a b', 'a:b', 'ä'])('refuses the name %p', (name) => {
    expect(() => byHeader(name)).toThrow(/^`name` must be the name of a header, got /);
  });
});

describe('byUser', () => {
  it.each([
    [undefined, '7'],
    ['account.id', 'a'],
    ['account.name', undefined],
    ['account', undefined],
  ])('takes %p of the user', (path, key) => {
    expect(byUser(path)(http(ADA))).toBe(key);
  });

  it('finds the user of each transport', () => {
    expect(byUser()(of('graphql', {}, {}, { req: ADA }, {}))).toBe('7');
    expect(byUser()(of('ws', { data: { user: { id: 8 } } }, {}))).toBe('8');
    expect(byUser()(of('rpc', { user: { id: 9 } }, {}))).toBe('9');
  });

  it('counts otherwise who is nobody', () => {
    expect(byUser('id', byIp())(http({ ip: '203.0.113.7' }))).toBe('@203.0.113.7');
  });
});

describe('a key with another for who has none', () => {
  const headers = { 'x-api-key': 'k1' };
  const ip = '203.0.113.7';
  const nested = byUser('id', byHeader('x-api-key', byIp()));

  it.each([
    [{ user: { id: 'ada' }, headers, ip }, 'ada'],
    [{ headers, ip }, '@k1'],
    [{ headers: {}, ip }, '@@203.0.113.7'],
  ])('tells by how many `@` are before it whose it is: %j', (request, key) => {
    expect(nested(http(request))).toBe(key);
  });

  it('is never that of another, whatever a client sends', () => {
    const texts = [
      '203.0.113.7',
      '@203.0.113.7',
      '@@203.0.113.7',
      '=@203.0.113.7',
      '=203.0.113.7',
      '@=@203.0.113.7',
      '@=203.0.113.7',
    ];
    const requests = [
      ...texts.map((id) => ({ user: { id } })),
      ...texts.map((value) => ({ headers: { 'x-api-key': value } })),
      { headers: {}, ip },
    ];
    expect(new Set(requests.map((request) => nested(http(request)))).size).toBe(requests.length);
  });

  it.each([
    ['=', '=='],
    ['@ada', '=@ada'],
    ['a@b', 'a@b'],
  ])('of %s is %s, and without another as it was', (id, key) => {
    expect(byUser('id', byIp())(http({ user: { id } }))).toBe(key);
    expect(byUser()(http({ user: { id } }))).toBe(id);
  });

  it('waits for the other', async () => {
    expect(await byUser('id', async () => 'later')(http({}))).toBe('@later');
  });

  it.each([undefined, null, '', 7])('is none where the other is %p', (other) => {
    expect(byUser('id', () => other as undefined)(http({}))).toBe(other);
  });
});

describe('byAll', () => {
  it('keeps combinations apart', () => {
    const key = byAll(byHeader('a'), byHeader('b'));
    const of = (a: string, b: string) => key(http({ headers: { a, b } }));
    expect(new Set([of('x', 'y:z'), of('x:y', 'z'), of('x","y', 'z'), of('x', 'y","z')]).size).toBe(4);
  });

  it.each([
    [undefined, 'undefined'],
    [null, 'null'],
    ['', '""'],
    [7, '7'],
  ])('names the part that is %p, and makes no bucket that others share', async (part, shown) => {
    const error = new RateLimitResolverError(
      `Part 2 of byAll on Resource.get must be a text of at least one character, got ${shown}`,
    );
    expect(() => byAll(byIp(), () => part as undefined)(http(ADA))).toThrow(error);
    await expect(byAll(byIp(), async () => part as undefined)(http(ADA))).rejects.toThrow(error);
  });

  it('waits for parts that come later', async () => {
    const account = async () => 'ada';
    expect(await byAll(account, byIp(), account)(http({ ip: '203.0.113.7' }))).toBe('["ada","203.0.113.7","ada"]');
  });

  it('asks no further part where one fails, so that no other fails where nobody listens', async () => {
    const further = jest.fn(() => 'ada');
    const failing = () => Promise.reject(new Error('no account'));
    await expect(byAll(failing, further)(http(ADA))).rejects.toThrow('no account');
    expect(further).not.toHaveBeenCalled();
  });

  it('refuses to be of nothing', () => {
    expect(() => byAll()).toThrow('`keys` must be at least one, got "none"');
  });
});

describe('fromAddresses', () => {
  const friends = fromAddresses('10.0.0.0/8', '203.0.113.7', '2001:db8::/32');

  it.each([
    ['10.1.2.3', true],
    ['::ffff:10.1.2.3', true],
    ['[2001:db8:5::1]:443', true],
    ['203.0.113.7', true],
    ['203.0.113.8', false],
    ['11.0.0.1', false],
    ['2001:db9::1', false],
    ['unknown', false],
    [undefined, false],
  ])('%p: %p', (ip, friend) => {
    expect(friends(http({ ip }))).toBe(friend);
  });

  it.each(['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '10.0.0', 'localhost', '', 7])('refuses %p', (entry) => {
    expect(() => fromAddresses(entry as string)).toThrow(/^`address` must be an address, or a network/);
  });
});
