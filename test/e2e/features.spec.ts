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
class Switch implements Resolver<boolean> {
  resolve(): boolean {
    return limitsOff;
  }
}

describe.each(ADAPTERS)('on %s', (adapter) => {
  let app: INestApplication;
  afterEach(() => app?.close());

  const get = (path: string) => request(app.getHttpServer()).get(path).set('x-user', 'ada');

  it('a feature brings its own policies, for decorators and for BucketService', async () => {
    app = await createApp(adapter, { imports: [RateLimitModule.forRoot(), ReportsModule] });
    expect((await get('/reports')).headers['ratelimit-policy']).toBe('"reports";q=3;w=10800');
    expect((await get('/reports/left')).text).toMatch(/^1(\.\d+)?$/);
    expect((await get('/reports')).status).toBe(200);
    expect((await get('/reports')).status).toBe(429);
  });

  it('a feature brings them to a module that is not global', async () => {
    const limits = RateLimitModule.forRoot({ isGlobal: false });
    @Module({ imports: [limits, reports], controllers: [ReportsController] })
    class Importing {}
    app = await createApp(adapter, { imports: [limits, Importing] });
    expect((await get('/reports')).headers['ratelimit-policy']).toBe('"reports";q=3;w=10800');
    expect((await get('/reports/left')).text).toMatch(/^1(\.\d+)?$/);
  });

  it.each([
    ['a function', () => limitsOff],
    ['a function that takes its time', async () => limitsOff],
    ['an injectable class', Switch],
  ])('%s turns all limits off and on while the application runs', async (_name, skip) => {
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot({ skip }), ReportsModule],
      providers: [Switch],
    });
    limitsOff = true;
    for (let i = 0; i < 4; i++) {
      const answer = await get('/reports');
      expect(answer.status).toBe(200);
      expect(answer.headers).not.toHaveProperty('ratelimit');
    }
    limitsOff = false;
    for (const status of [200, 200, 200, 429]) expect((await get('/reports')).status).toBe(status);
  });
});

describe('policies of features', () => {
  it.each([
    [
      { imports: [RateLimitModule.forRoot({ policies: REPORTS }), ReportsModule] },
      'Invalid RateLimitModule.forFeature: policies.reports: the name must be given to one policy only',
    ],
    [
      { imports: [RateLimitModule.forRoot(), RateLimitModule.forFeature({ wrong: { capacity: 0, refill: 1 } })] },
      'Invalid RateLimitModule.forFeature: policies.wrong: `capacity` must be a positive number, got 0',
    ],
    [
      { imports: [RateLimitModule.forRoot(), RateLimitModule.forFeature([] as never)] },
      'Invalid RateLimitModule.forFeature: `policies` must be an object of policies by name, got an array of 0',
    ],
    [
      { imports: [reports] },
      'Invalid RateLimitModule.forFeature: `RateLimitModule.forRoot()` must be imported in the application, too',
    ],
  ])('stop the start where they are wrong', async (metadata, message) => {
    await expect(createApp('express', metadata)).rejects.toThrow(message);
  });
});
