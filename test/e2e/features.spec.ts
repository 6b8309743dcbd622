import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, Inject, Injectable, Module } from '@nestjs/common';
import { BucketService, byHeader, RateLimit, RateLimitModule, type Resolver } from 'nest-rate-limit';
import request from 'supertest';
import { ADAPTERS, createApp } from '../support/create-app.js';

@RateLimit('reports')
@Controller('reports')
class ReportsController {
  constructor(@Inject(BucketService) private readonly buckets: BucketService) {}

  @Get()
  get(): string {
    return 'report';
  }

  @Get('left')
  left(): Promise<number> {
    return this.buckets.bucket('reports', 'ada').available();
  }
}

const REPORTS = { reports: { capacity: 3, refill: 1, unit: 'hours', key: byHeader('x-user') } } as const;

const reports = RateLimitModule.forFeature(REPORTS);

@Module({ imports: [reports], controllers: [ReportsController] })
class ReportsModule {}

let limitsOff = false;

@Injectable()
class RuntimeSkip implements Resolver<boolean> {
  resolve(): boolean {
    return limitsOff;
  }
}

describe.each(ADAPTERS)('RateLimitModule on %s', (adapter) => {
  let app: INestApplication;
  afterEach(() => app?.close());

  const get = (path: string) => request(app.getHttpServer()).get(path).set('x-user', 'ada');

  it('registers the policies of a feature for decorators and BucketService', async () => {
    app = await createApp(adapter, { imports: [RateLimitModule.forRoot(), ReportsModule] });
    expect((await get('/reports')).headers['ratelimit-policy']).toBe('"reports";q=3;w=10800');
    expect((await get('/reports/left')).text).toMatch(/^1(\.\d+)?$/);
    expect((await get('/reports')).status).toBe(200);
    expect((await get('/reports')).status).toBe(429);
  });

  it('registers the policies of a feature with isGlobal: false', async () => {
    const limits = RateLimitModule.forRoot({ isGlobal: false });
    @Module({ imports: [limits, reports], controllers: [ReportsController] })
    class Importing {}
    app = await createApp(adapter, { imports: [limits, Importing] });
    expect((await get('/reports')).headers['ratelimit-policy']).toBe('"reports";q=3;w=10800');
    expect((await get('/reports/left')).text).toMatch(/^1(\.\d+)?$/);
  });

  it.each([
    ['a function', () => limitsOff],
    ['an async function', async () => limitsOff],
    ['an injectable class', RuntimeSkip],
  ])('turns all limits off and on at runtime with %s', async (_name, skip) => {
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot({ skip }), ReportsModule],
      providers: [RuntimeSkip],
    });
    limitsOff = true;
    for (let i = 0; i < 4; i++) {
      const response = await get('/reports');
      expect(response.status).toBe(200);
      expect(response.headers).not.toHaveProperty('ratelimit');
    }
    limitsOff = false;
    for (const status of [200, 200, 200, 429]) expect((await get('/reports')).status).toBe(status);
  });
});

describe('RateLimitModule.forFeature', () => {
  it.each([
    [
      { imports: [RateLimitModule.forRoot({ policies: REPORTS }), ReportsModule] },
      'Invalid RateLimitModule.forFeature: policies.reports: another policy in `forRoot` or `forFeature` has this name',
    ],
    [
      { imports: [RateLimitModule.forRoot(), RateLimitModule.forFeature({ wrong: { capacity: 0, refill: 1 } })] },
      'Invalid RateLimitModule.forFeature: policies.wrong: `capacity` must be a positive number, got 0',
    ],
    [
      { imports: [RateLimitModule.forRoot(), RateLimitModule.forFeature([] as never)] },
      'Invalid RateLimitModule.forFeature: `policies` must be an object of policies by name, got []',
    ],
    [
      { imports: [reports] },
      'Invalid RateLimitModule.forFeature: `RateLimitModule.forRoot()` must be imported in the application, too',
    ],
  ])('rejects invalid policies at startup', async (metadata, message) => {
    await expect(createApp('express', metadata)).rejects.toThrow(message);
  });
});
