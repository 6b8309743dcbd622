import { describe, expect, it } from '@jest/globals';
import { Controller, Get, Module, type Type } from '@nestjs/common';
import { RateLimit, RateLimitModule, type RateLimitOptions } from 'nest-rate-limit';
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
