import { afterEach, describe, expect, it } from '@jest/globals';
import {
  type ArgumentsHost,
  Catch,
  Controller,
  type ExceptionFilter,
  Get,
  HttpException,
  type INestApplication,
  type MiddlewareConsumer,
  Module,
  type Provider,
  type Type,
  UseFilters,
} from '@nestjs/common';
import { APP_FILTER, BaseExceptionFilter, HttpAdapterHost } from '@nestjs/core';
import { BucketService, RateLimit, RateLimitExceededException, RateLimitModule } from 'nest-rate-limit';
import request from 'supertest';
import { ADAPTERS, type AdapterName, createApp } from '../support/create-app.js';
import { FarStore } from '../support/far-store.js';

const ONE = { maxRequest: 1, unit: 'hour' } as const;
const MESSAGE = { error: 'slow_down' };

/** The filter of error trackers: it reports every exception, and lets Nest answer. */
@Catch()
class ReportAll extends BaseExceptionFilter {}

@Catch(HttpException)
class ReportHttp extends BaseExceptionFilter {}

/** Replies in a later turn of the event loop, when other requests have been rejected. */
@Catch()
class ReportSlowly extends BaseExceptionFilter {
  override catch(exception: unknown, host: ArgumentsHost): void {
    setTimeout(() => super.catch(exception, host), 5);
  }
}

/** Replies through the adapter itself, as a filter that is bound by the class. */
@Catch(RateLimitExceededException)
class ReplyByAdapter implements ExceptionFilter {
  constructor(private readonly host: HttpAdapterHost) {}

  catch(exception: HttpException, host: ArgumentsHost): void {
    const { httpAdapter } = this.host;
    httpAdapter.reply(host.switchToHttp().getResponse(), exception.getResponse(), exception.getStatus());
  }
}

interface AnyResponse {
  status(code: number): AnyResponse;
  send(body: unknown): unknown;
}

/** Replies without Nest. */
@Catch(HttpException)
class SendDirectly implements ExceptionFilter {
  catch(exception: HttpException, host: ArgumentsHost): void {
    host.switchToHttp().getResponse<AnyResponse>().status(exception.getStatus()).send(exception.getResponse());
  }
}

function controller(...filters: Type<ExceptionFilter>[]): Type {
  @UseFilters(...filters)
  @Controller()
  class Resource {
    constructor(private readonly buckets: BucketService) {}

    @RateLimit(ONE)
    @Get('guarded')
    guarded() {}

    @RateLimit({ ...ONE, message: MESSAGE })
    @Get('object')
    object() {}

    @RateLimit({ maxRequest: 1, unit: 'minute', message: MESSAGE })
    @Get('object-too')
    objectToo() {}

    @RateLimit({ ...ONE, onStoreError: 'closed' })
    @Get('unavailable')
    unavailable() {}

    @Get('thrown')
    async thrown() {
      await this.buckets.bucket({ ...ONE, name: 'own' }, 'all').consume(1, { maxWait: 0 });
    }
  }
  return Resource;
}

/** How a filter is bound. */
const BINDINGS: Record<
  string,
  { providers?: Provider[]; filters?: Type<ExceptionFilter>[]; prepare?: (app: INestApplication) => void }
> = {
  'no filter': {},
  'a catch-all filter as APP_FILTER': { providers: [{ provide: APP_FILTER, useClass: ReportAll }] },
  'a catch-all filter of useGlobalFilters': {
    prepare: (app) => app.useGlobalFilters(new ReportAll(app.get(HttpAdapterHost).httpAdapter)),
  },
  'a catch-all filter of the class': { filters: [ReportAll] },
  'a catch-all filter that replies later': { providers: [{ provide: APP_FILTER, useClass: ReportSlowly }] },
  'a filter of HttpException': { providers: [{ provide: APP_FILTER, useClass: ReportHttp }] },
  'a filter that replies through the adapter': { filters: [ReplyByAdapter] },
};

@Module({})
class ThrowingMiddleware {
  constructor(private readonly buckets: BucketService) {}

  configure(consumer: MiddlewareConsumer): void {
    const consume = (_request: unknown, _response: unknown, next: (error?: unknown) => void) =>
      this.buckets
        .bucket({ ...ONE, name: 'middleware' }, 'all')
        .consume(1, { maxWait: 0 })
        .then(() => next(), next);
    consumer.apply(consume).forRoutes('guarded');
  }
}

describe.each(ADAPTERS)('Exception filters on %s', (adapter: AdapterName) => {
  let app: INestApplication;
  let store: FarStore;
  afterEach(() => app.close());
  const start = async (binding: (typeof BINDINGS)[string], problemDetails = false, imports: Type[] = []) => {
    store = new FarStore();
    app = await createApp(
      adapter,
      {
        imports: [RateLimitModule.forRoot({ store, problemDetails }), ...imports],
        controllers: [controller(...(binding.filters ?? []))],
        providers: binding.providers,
      },
      binding.prepare,
    );
  };
  const get = (path: string) => request(app.getHttpServer()).get(`/${path}`);
  const rejected = async (path: string) => {
    await get(path);
    return get(path);
  };

  it.each(Object.keys(BINDINGS))('leave headers and problem details complete: %s', async (name) => {
    await start(BINDINGS[name], true);
    for (const [path, policy] of [
      ['guarded', 'Resource.guarded'],
      ['thrown', 'own'],
    ]) {
      const { status, headers, text } = await rejected(path);
      expect([path, status, headers['retry-after']]).toEqual([path, 429, '3600']);
      expect(headers['content-type']).toMatch(/^application\/problem\+json\b/);
      expect(JSON.parse(text)).toEqual({
        type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
        title: 'Quota Exceeded',
        status: 429,
        detail: 'Too Many Requests',
        'violated-policies': [policy],
      });
    }
    expect((await rejected('guarded')).headers.ratelimit).toBe('"Resource.guarded";r=0;t=3600');
  });

  it.each(Object.keys(BINDINGS))('leave headers and body complete: %s', async (name) => {
    await start(BINDINGS[name]);
    for (const path of ['guarded', 'thrown']) {
      const { status, headers, body } = await rejected(path);
      expect([status, headers['retry-after'], body]).toEqual([
        429,
        '3600',
        { statusCode: 429, message: 'Too Many Requests' },
      ]);
      expect(headers['content-type']).toMatch(/^application\/json\b/);
    }
  });

  it('complete the answers of an unavailable store', async () => {
    await start(BINDINGS['a catch-all filter as APP_FILTER'], true);
    store.unavailable = true;
    const { status, headers, text } = await get('unavailable');
    expect([status, headers['retry-after']]).toEqual([503, '1']);
    expect(JSON.parse(text)).toMatchObject({ title: 'Temporary Reduced Capacity', status: 503 });
  });

  it('distinguish rejections with the same message, also if they reply later', async () => {
    await start(BINDINGS['a catch-all filter that replies later'], true);
    await Promise.all([get('object'), get('object-too')]);
    const [hour, minute] = await Promise.all([get('object'), get('object-too')]);
    expect([hour.headers['retry-after'], minute.headers['retry-after']]).toEqual(['3600', '60']);
    expect(JSON.parse(hour.text)).toMatchObject({ ...MESSAGE, 'violated-policies': ['Resource.object'] });
    expect(JSON.parse(minute.text)).toMatchObject({ ...MESSAGE, 'violated-policies': ['Resource.objectToo'] });
  });

  it('keep the headers of the guard if they send the response themselves', async () => {
    await start({ filters: [SendDirectly] });
    const { status, headers, body } = await rejected('guarded');
    expect([status, headers['retry-after'], headers.ratelimit]).toEqual([429, '3600', '"Resource.guarded";r=0;t=3600']);
    expect(body).toEqual({ statusCode: 429, message: 'Too Many Requests' });
  });

  it.each([false, true])('complete rejections that a middleware throws, with problemDetails: %p', async (problem) => {
    await start({}, problem, [ThrowingMiddleware]);
    const { status, headers, text } = await rejected('guarded');
    expect([status, headers['retry-after']]).toEqual([429, '3600']);
    expect(headers['content-type']).toMatch(problem ? /^application\/problem\+json\b/ : /^application\/json\b/);
    expect(JSON.parse(text)).toMatchObject(
      problem ? { detail: 'Too Many Requests' } : { message: 'Too Many Requests' },
    );
  });
});
