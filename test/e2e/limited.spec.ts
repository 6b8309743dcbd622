import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication } from '@nestjs/common';
import { RateLimit, RateLimitModule, TimeUnit } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore } from '../support/requests.js';

@Controller()
class Resource {
  @Get('free')
  free(): string {
    return 'Hello Free World';
  }

  @RateLimit({ duration: 10, unit: TimeUnit.SECONDS, maxRequest: 2 })
  @Get('limited')
  limited(): string {
    return 'Hello Limited World';
  }
}

describe.each(COMBINATIONS)('A limited handler on $adapter with the $store store', ({ adapter, store }) => {
  let app: INestApplication;
  afterEach(() => app.close());

  it('responds with 200, 200, and 429, with exact headers and body', async () => {
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot(clockedStore(store, new FakeClock()))],
      controllers: [Resource],
    });
    const get = (path: string) => request(app.getHttpServer()).get(path);
    const first = await get('/limited');
    expect([first.status, first.text]).toEqual([200, 'Hello Limited World']);
    expect(first.headers['ratelimit-policy']).toBe('"Resource.limited";q=2;w=10');
    expect(first.headers.ratelimit).toBe('"Resource.limited";r=1;t=10');
    expect(first.headers).not.toHaveProperty('retry-after');
    const second = await get('/limited');
    expect(second.status).toBe(200);
    expect(second.headers.ratelimit).toBe('"Resource.limited";r=0;t=10');
    const third = await get('/limited');
    expect(third.status).toBe(429);
    expect(third.body).toEqual({ statusCode: 429, message: 'Too Many Requests' });
    expect(third.headers['retry-after']).toBe('10');
    expect(third.headers.ratelimit).toBe('"Resource.limited";r=0;t=10');
    for (let i = 0; i < 5; i++) expect((await get('/free')).status).toBe(200);
    expect((await get('/free')).headers).not.toHaveProperty('ratelimit');
  });
});
