import { afterEach, describe, expect, it } from '@jest/globals';
import {
  type ArgumentsHost,
  Catch,
  Controller,
  Get,
  HttpException,
  type INestApplication,
  type Provider,
} from '@nestjs/common';
import { APP_FILTER, BaseExceptionFilter } from '@nestjs/core';
import { BucketService, RateLimit, RateLimitModule, type RateLimitModuleOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore } from '../support/requests.js';

const ONE = { maxRequest: 1, unit: 'minute' } as const;

@Controller()
class Resource {
  constructor(private readonly buckets: BucketService) {}

  @RateLimit(ONE)
  @Get('plain')
  plain() {}

  @RateLimit({ ...ONE, message: 'Slow down, please' })
  @Get('text')
  text() {}

  @RateLimit({ ...ONE, message: { error: 'slow_down', hint: 'wait' } })
  @Get('object')
  object() {}

  @RateLimit({ ...ONE, message: { message: 'Slow down', code: 7, docs: '/limits' } })
  @Get('more')
  more() {}

  @RateLimit({
    ...ONE,
    message: { status: 200, type: '/slow', title: 'Slow', detail: 'Wait', 'violated-policies': [] },
  })
  @Get('members')
  members() {}

  @RateLimit({ ...ONE, message: (_context, { retryAfter, policy }) => `${policy}: wait ${retryAfter / 1000} s` })
  @Get('function')
  function() {}

  @RateLimit({ ...ONE, message: (context, { limit }) => ({ path: context.getHandler().name, limit }) })
  @Get('body')
  body() {}

  @RateLimit({ maxRequest: 1, unit: 'hour', message: 'the hour' })
  @RateLimit({ ...ONE, message: 'the minute' })
  @Get('two')
  two() {}

  @RateLimit({ limits: [{ maxRequest: 9 }, { capacity: 1, refill: 1, unit: 'minute' }] })
  @Get('limits')
  limits() {}

  @Get('manual')
  async manual() {
    await this.buckets.bucket({ name: 'manual', ...ONE }, 'all').consume(1, { maxWait: 0 });
  }

  @Get('never')
  async never() {
    await this.buckets.bucket({ name: 'never', ...ONE }, 'all').consume(2);
  }
}

@Catch()
class Teapot extends BaseExceptionFilter {
  override catch(_error: unknown, host: ArgumentsHost) {
    super.catch(new HttpException('tea', 418), host);
  }
}

describe.each(COMBINATIONS)('Rejection on $adapter with the $store store', ({ adapter, store }) => {
  let app: INestApplication;
  afterEach(() => app.close());
  const start = async (options: RateLimitModuleOptions = {}, providers: Provider[] = []) => {
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot({ ...clockedStore(store, new FakeClock()), ...options })],
      controllers: [Resource],
      providers,
    });
  };
  const rejected = async (path: string) => {
    await request(app.getHttpServer()).get(path);
    return request(app.getHttpServer()).get(path);
  };

  it.each([
    ['plain', { statusCode: 429, message: 'Too Many Requests' }],
    ['text', { statusCode: 429, message: 'Slow down, please' }],
    ['object', { error: 'slow_down', hint: 'wait' }],
    ['function', { statusCode: 429, message: 'Resource.function: wait 60 s' }],
    ['body', { path: 'body', limit: 1 }],
    ['two', { statusCode: 429, message: 'the hour' }],
    ['manual', { statusCode: 429, message: 'Too Many Requests' }],
  ])('sends the body of the policy: /%s', async (path, body) => {
    await start();
    const response = await rejected(`/${path}`);
    expect([response.status, response.body]).toEqual([429, body]);
    expect(response.headers['content-type']).toMatch(/^application\/json/);
    expect(response.headers['retry-after']).toBe(path === 'two' ? '3600' : '60');
  });

  it("uses the module's message for policies without one", async () => {
    await start({ message: (_context, { policy, retryAfter }) => ({ code: 'LIMITED', policy, retryAfter }) });
    expect((await rejected('/plain')).body).toEqual({ code: 'LIMITED', policy: 'Resource.plain', retryAfter: 60_000 });
    expect((await rejected('/text')).body).toEqual({ statusCode: 429, message: 'Slow down, please' });
  });

  it('omits `Retry-After` if a handler consumes more than the limit', async () => {
    await start();
    const { status, headers } = await request(app.getHttpServer()).get('/never');
    expect(status).toBe(429);
    expect(headers).not.toHaveProperty('retry-after');
  });

  it.each([false, true])(
    'lets a custom exception filter respond instead, with `problemDetails: %p`',
    async (problemDetails) => {
      await start({ problemDetails }, [{ provide: APP_FILTER, useClass: Teapot }]);
      const thrown = await rejected('/manual');
      expect([thrown.status, thrown.headers['retry-after']]).toEqual([418, undefined]);
      const guarded = await rejected('/plain');
      expect([guarded.status, guarded.headers['retry-after']]).toEqual([418, '60']);
    },
  );

  it.each([
    ['plain', { detail: 'Too Many Requests', 'violated-policies': ['Resource.plain'] }],
    ['text', { detail: 'Slow down, please', 'violated-policies': ['Resource.text'] }],
    ['two', { detail: 'the hour', 'violated-policies': ['Resource.two', 'Resource.two-2'] }],
    ['limits', { detail: 'Too Many Requests', 'violated-policies': ['Resource.limits/bucket'] }],
    ['manual', { detail: 'Too Many Requests', 'violated-policies': ['manual'] }],
  ])('sends problem details: /%s', async (path, body) => {
    await start({ problemDetails: true });
    const response = await rejected(`/${path}`);
    expect(response.status).toBe(429);
    expect(response.headers['content-type']).toMatch(/^application\/problem\+json\b/);
    expect(JSON.parse(response.text)).toEqual({
      type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
      title: 'Quota Exceeded',
      status: 429,
      ...body,
    });
    expect(response.headers['retry-after']).toBe(path === 'two' ? '3600' : '60');
  });

  it.each([
    ['object', { detail: 'Too Many Requests', error: 'slow_down', hint: 'wait' }],
    ['more', { detail: 'Slow down', message: 'Slow down', code: 7, docs: '/limits' }],
    ['members', { detail: 'Wait', type: '/slow', title: 'Slow' }],
  ])('adds the body of /%s to problem details, but keeps `status` and `violated-policies`', async (path, members) => {
    await start({ problemDetails: true });
    const response = await rejected(`/${path}`);
    expect(response.status).toBe(429);
    expect(JSON.parse(response.text)).toEqual({
      type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
      title: 'Quota Exceeded',
      status: 429,
      'violated-policies': [`Resource.${path}`],
      ...members,
    });
  });
});
