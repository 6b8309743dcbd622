import { describe, expect, it } from '@jest/globals';
import { Controller, Get, Module, type Type } from '@nestjs/common';
import {
  RateLimit,
  type RateLimitInput,
  RateLimitModule,
  RateLimitOptionError,
  type RateLimitOptions,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore, statuses } from '../support/requests.js';

const ONE: RateLimitOptions = { maxRequest: 1, duration: 1, unit: 'hour' };

/** Returns a new class each time, always named Users. */
function usersAt(path: string, options?: RateLimitOptions, route?: string): Type {
  @Controller(path)
  class Users {
    @Get(route) list() {}
  }
  if (options) {
    const { value } = Object.getOwnPropertyDescriptor(Users.prototype, 'list') as { value: () => void };
    RateLimit(options)(Users.prototype, 'list', { value });
  }
  return Users;
}

@Module({ controllers: [usersAt('a', ONE)] })
class Admin {}

@Module({ controllers: [usersAt('b', ONE)] })
class Shop {}

describe.each(COMBINATIONS)('Policy naming on $adapter with the $store store', ({ adapter, store }) => {
  it('separates classes of the same name in two modules, and prefixes the module name', async () => {
    const app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot(clockedStore(store, new FakeClock())), Admin, Shop],
    });
    const codes = await statuses(app, '/a', '/b', '/a', '/b');
    const get = (path: string) => request(app.getHttpServer()).get(path);
    const headers = [(await get('/a')).headers, (await get('/b')).headers];
    await app.close();
    expect(codes).toEqual([200, 200, 429, 429]);
    expect(headers.map((each) => each['ratelimit-policy'])).toEqual([
      '"Admin.Users.list";q=1;w=3600',
      '"Shop.Users.list";q=1;w=3600',
    ]);
  });
});

describe('Policy naming for two classes of the same name in one module', () => {
  const start = (...controllers: Type[]) =>
    createApp('express', { imports: [RateLimitModule.forRoot(), moduleOf(controllers)] });

  function moduleOf(controllers: Type[]): Type {
    @Module({ controllers })
    class Team {}
    return Team;
  }

  it('distinguishes them by their paths, in any order', async () => {
    for (const paths of [['a', 'b'] as const, ['b', 'a'] as const]) {
      const app = await start(...paths.map((path) => usersAt(path, ONE)));
      expect(await statuses(app, '/a', '/b', '/a', '/b')).toEqual([200, 200, 429, 429]);
      const { headers } = await request(app.getHttpServer()).get('/b');
      expect(headers['ratelimit-policy']).toBe('"Team.Users(b).list";q=1;w=3600');
      await app.close();
    }
  });

  it('distinguishes those of one path by their first routes', async () => {
    const app = await start(usersAt('a', ONE), usersAt('a', ONE, 'other'));
    expect(await statuses(app, '/a', '/a/other', '/a', '/a/other')).toEqual([200, 200, 429, 429]);
    const { headers } = await request(app.getHttpServer()).get('/a/other');
    expect(headers['ratelimit-policy']).toBe('"Team.Users(GET a/other).list";q=1;w=3600');
    await app.close();
  });

  it('fails at startup with the route if they have the same one, and requires `name`', async () => {
    const message =
      'Invalid @RateLimit on Users: Team has two classes of this name with the route GET a; give their policies a `name`';
    await expect(start(usersAt('a', ONE), usersAt('a', ONE))).rejects.toThrow(new RateLimitOptionError(message));
    await expect(start(usersAt('a', { ...ONE, name: 'a' }), usersAt('a', ONE))).rejects.toThrow(message);
  });

  it('accepts classes with the same route that both set `name`', async () => {
    const app = await start(usersAt('a', { ...ONE, name: 'a' }), usersAt('a', { ...ONE, name: 'b' }));
    expect(await statuses(app, '/a', '/a')).toEqual([200, 429]);
    await app.close();
  });

  it('accepts two classes if one of them is not limited', async () => {
    const app = await start(usersAt('a', ONE), usersAt('b'));
    expect(await statuses(app, '/a', '/b', '/a', '/b')).toEqual([200, 200, 429, 200]);
    await app.close();
  });
});

it('separates classes of the same name under a default policy with perHandler', async () => {
  @Module({ controllers: [usersAt('a')] })
  class One {}
  @Module({ controllers: [usersAt('b')] })
  class Other {}
  const app = await createApp('express', {
    imports: [RateLimitModule.forRoot({ default: { ...ONE, perHandler: true } }), One, Other],
  });
  expect(await statuses(app, '/a', '/b', '/a', '/b')).toEqual([200, 200, 429, 429]);
  await app.close();
});

describe('Policies of the same name on one handler', () => {
  const SAME: RateLimitOptions = { ...ONE, name: 'same' };
  const start = (...inputs: RateLimitInput[]) => {
    @Controller()
    class Users {
      @Get() list() {}
    }
    const { value } = Object.getOwnPropertyDescriptor(Users.prototype, 'list') as { value: () => void };
    for (const input of inputs) RateLimit(input)(Users.prototype, 'list', { value });
    return createApp('express', {
      imports: [RateLimitModule.forRoot({ policies: { same: ONE } })],
      controllers: [Users],
    });
  };
  const byIp = () => '203.0.113.7';

  it.each<[string, RateLimitInput[]]>([
    ['limits', [SAME, { ...SAME, maxRequest: 2 }]],
    ['limits, in a list', [[SAME, { ...SAME, maxRequest: 2 }]]],
    ['limits, one from a named policy', ['same', { ...SAME, maxRequest: 2 }]],
    ['keys', [SAME, { ...SAME, key: byIp }]],
    [
      'constant keys',
      [
        { ...SAME, key: 'a' },
        { ...SAME, key: 'b' },
      ],
    ],
  ])('fail at startup if they have different %s', async (_, inputs) => {
    await expect(start(...inputs)).rejects.toThrow(
      "Invalid @RateLimit on Users.list: two policies are named 'same' but have different limits or keys; give one of " +
        'them another `name`',
    );
  });

  it.each<[string, RateLimitInput[]]>([
    [
      'they are equal',
      [
        { ...SAME, key: 'a' },
        { ...SAME, key: 'a', maxWait: 1 },
      ],
    ],
    ['one equals the named policy', ['same', SAME]],
    ['one is a dry run', [SAME, { ...SAME, maxRequest: 2, dryRun: true }]],
    ['one is resolved per request', [SAME, () => ({ ...SAME, maxRequest: 2 })]],
  ])('are accepted if %s', async (_, inputs) => {
    await (await start(...inputs)).close();
  });
});
