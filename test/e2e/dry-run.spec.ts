import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Controller, Get, type INestApplication, Logger } from '@nestjs/common';
import { BucketService, RateLimit, RateLimitModule } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore, until } from '../support/requests.js';

const TWO = { capacity: 2, refill: 1, unit: 'hour', key: 'all' } as const;

@Controller()
class Resource {
  @RateLimit({ ...TWO, name: 'trial', dryRun: true })
  @Get('trial')
  trial() {}

  @RateLimit({ ...TWO, name: 'trial-too', capacity: 1, dryRun: true })
  @RateLimit({ ...TWO, name: 'real' })
  @Get('both')
  both() {}

  @RateLimit({
    ...TWO,
    name: 'throwing',
    dryRun: true,
    key: () => {
      throw new Error('no user is logged in');
    },
  })
  @RateLimit({ ...TWO, name: 'rejecting', dryRun: true, cost: async () => Number.NaN })
  @RateLimit({ ...TWO, name: 'keyless', dryRun: true, key: () => undefined })
  @Get('wrong')
  wrong() {}
}

describe.each(COMBINATIONS)('Dry-run policy on $adapter with the $store store', ({ adapter, store }) => {
  let app: INestApplication;
  beforeAll(async () => {
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot(clockedStore(store, new FakeClock()))],
      controllers: [Resource],
    });
  });
  afterAll(() => app.close());
  const get = async (path: string) => {
    const { status, headers } = await request(app.getHttpServer()).get(path);
    return [status, headers['ratelimit-policy'], headers.ratelimit];
  };
  const left = (name: string, overrides: object = TWO) => {
    const { key, ...limit } = { ...TWO, ...overrides };
    return app
      .get(BucketService)
      .bucket({ ...limit, name }, key)
      .available();
  };

  it('takes from its own bucket, never rejects, and adds no headers', async () => {
    for (let i = 0; i < 4; i++) expect(await get('/trial')).toEqual([200, undefined, undefined]);
    await until(async () => (await left('trial')) === 0);
  });

  it('does not affect the other policies of the handler', async () => {
    const policy = '"real";q=2;w=7200';
    expect(await get('/both')).toEqual([200, policy, '"real";r=1;t=3600']);
    expect(await get('/both')).toEqual([200, policy, '"real";r=0;t=3600']);
    expect(await get('/both')).toEqual([429, policy, '"real";r=0;t=3600']);
    await until(async () => (await left('trial-too', { capacity: 1 })) === 0);
  });

  it('allows the request without headers if a resolver fails, and warns once', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    for (let i = 0; i < 3; i++) expect(await get('/wrong')).toEqual([200, undefined, undefined]);
    const warnings = warn.mock.calls.map(([message]) => message).sort();
    warn.mockRestore();
    expect(warnings).toEqual([
      '[dry run] Policy keyless could not be evaluated: RateLimitResolverError: The key of policy keyless must be a non-empty string, got undefined',
      '[dry run] Policy rejecting could not be evaluated: RateLimitResolverError: The cost of policy rejecting must be a number of at least 0, got NaN',
      '[dry run] Policy throwing could not be evaluated: Error: no user is logged in',
    ]);
  });
});
