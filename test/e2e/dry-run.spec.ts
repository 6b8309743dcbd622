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
      throw new Error('nobody is logged in');
    },
  })
  @RateLimit({ ...TWO, name: 'rejecting', dryRun: true, cost: async () => Number.NaN })
  @RateLimit({ ...TWO, name: 'keyless', dryRun: true, key: () => undefined })
  @Get('wrong')
  wrong() {}
}

describe.each(COMBINATIONS)('a policy on trial, on $adapter, buckets in $store', ({ adapter, store }) => {
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
  const left = (name: string, numbers: object = TWO) => {
    const { key, ...limit } = { ...TWO, ...numbers };
    return app
      .get(BucketService)
      .bucket({ ...limit, name }, key)
      .available();
  };

  it('takes from its own bucket, never refuses, and shows the client nothing', async () => {
    for (let i = 0; i < 4; i++) expect(await get('/trial')).toEqual([200, undefined, undefined]);
    await until(async () => (await left('trial')) === 0);
  });

  it('has no part in all or nothing', async () => {
    const policy = '"real";q=2;w=7200';
    expect(await get('/both')).toEqual([200, policy, '"real";r=1;t=3600']);
    expect(await get('/both')).toEqual([200, policy, '"real";r=0;t=3600']);
    expect(await get('/both')).toEqual([429, policy, '"real";r=0;t=3600']);
    await until(async () => (await left('trial-too', { capacity: 1 })) === 0);
  });

  it('shows the client nothing either where it cannot be asked, but warns once', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    for (let i = 0; i < 3; i++) expect(await get('/wrong')).toEqual([200, undefined, undefined]);
    const warnings = warn.mock.calls.map(([text]) => text).sort();
    warn.mockRestore();
    expect(warnings).toEqual([
      'Policy keyless, which is on trial, could not be asked: RateLimitResolverError: The key of policy keyless must be a text of at least one character, got undefined',
      'Policy rejecting, which is on trial, could not be asked: RateLimitResolverError: The cost of policy rejecting must be a number from 0 up of at most three decimals, got NaN',
      'Policy throwing, which is on trial, could not be asked: Error: nobody is logged in',
    ]);
  });
});
