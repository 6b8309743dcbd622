import { describe, expect, it } from '@jest/globals';
import { Controller, Get, Module, type Type } from '@nestjs/common';
import { RateLimit, type RateLimitInput, RateLimitModule, type RateLimitOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore, statuses } from '../support/requests.js';

const ONE: RateLimitOptions = { maxRequest: 1, duration: 1, unit: 'hour' };

/** A class of its own each time, always called Users. */
function usersAt(path: string, options?: RateLimitOptions): Type {
  @Controller(path)
  class Users {
    @Get() list() {}
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

describe.each(COMBINATIONS)('$adapter, buckets in $store', ({ adapter, store }) => {
  it('keeps two classes of one name in two modules apart, and puts the module in front', async () => {
    const app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot(clockedStore(store, new FakeClock())), Admin, Shop],
    });
    const found = await statuses(app, '/a', '/b', '/a', '/b');
    const get = (path: string) => request(app.getHttpServer()).get(path);
    const headers = [(await get('/a')).headers, (await get('/b')).headers];
    await app.close();
    expect(found).toEqual([200, 200, 429, 429]);
    expect(headers.map((each) => each['ratelimit-policy'])).toEqual([
      '"Admin.Users.list";q=1;w=3600',
      '"Shop.Users.list";q=1;w=3600',
    ]);
  });
});

describe('two classes of one name in one module', () => {
  const started = (...controllers: Type[]) =>
    createApp('express', { imports: [RateLimitModule.forRoot(), moduleOf(controllers)] });

  function moduleOf(controllers: Type[]): Type {
    @Module({ controllers })
    class Team {}
    return Team;
  }

  it('fail at start-up and are asked for a name', async () => {
    await expect(started(usersAt('a', ONE), usersAt('b', ONE))).rejects.toThrow(
      'Invalid @RateLimit on Users: `name` must be given, since two classes in Team are called Users',
    );
  });

  it('fail if only one of them has a name', async () => {
    await expect(started(usersAt('a', { ...ONE, name: 'a' }), usersAt('b', ONE))).rejects.toThrow(
      '`name` must be given',
    );
  });

  it('start if both have one', async () => {
    const app = await started(usersAt('a', { ...ONE, name: 'a' }), usersAt('b', { ...ONE, name: 'b' }));
    expect(await statuses(app, '/a', '/b', '/a', '/b')).toEqual([200, 200, 429, 429]);
    await app.close();
  });

  it('start if one of them is not limited', async () => {
    const app = await started(usersAt('a', ONE), usersAt('b'));
    expect(await statuses(app, '/a', '/b', '/a', '/b')).toEqual([200, 200, 429, 200]);
    await app.close();
  });
});

it('keeps classes of one name apart that only the default policy limits, with perHandler', async () => {
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

describe('two policies of one name on one handler', () => {
  const SAME: RateLimitOptions = { ...ONE, name: 'same' };
  const started = (...inputs: RateLimitInput[]) => {
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
    ['numbers', [SAME, { ...SAME, maxRequest: 2 }]],
    ['numbers, in a list', [[SAME, { ...SAME, maxRequest: 2 }]]],
    ['numbers than the named one', ['same', { ...SAME, maxRequest: 2 }]],
    ['keys', [SAME, { ...SAME, key: byIp }]],
    [
      'constant keys',
      [
        { ...SAME, key: 'a' },
        { ...SAME, key: 'b' },
      ],
    ],
  ])('fail at start-up if they have other %s', async (_, inputs) => {
    await expect(started(...inputs)).rejects.toThrow(
      'Invalid @RateLimit on Users.list: `name` must be another one for other numbers or another key, got "same"',
    );
  });

  it.each<[string, RateLimitInput[]]>([
    [
      'they are the same',
      [
        { ...SAME, key: 'a' },
        { ...SAME, key: 'a', maxWait: 1 },
      ],
    ],
    ['they are the same as the named one', ['same', SAME]],
    ['one is on trial', [SAME, { ...SAME, maxRequest: 2, dryRun: true }]],
    ['one is told per request', [SAME, () => ({ ...SAME, maxRequest: 2 })]],
  ])('start if %s', async (_, inputs) => {
    await (await started(...inputs)).close();
  });
});
