import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication } from '@nestjs/common';
import { BucketService, RateLimitModule } from 'nest-rate-limit';
import { limitFetch } from 'nest-rate-limit/outbound';
import request from 'supertest';
import { COMBINATIONS, createApp, storeOptions } from '../support/create-app.js';
import { startUpstream, type Upstream } from '../support/upstream.js';

describe.each(COMBINATIONS)(
  'A handler that calls a limited upstream, on $adapter with $store',
  ({ adapter, store }) => {
    let app: INestApplication;
    let upstream: Upstream;
    afterEach(async () => {
      await app.close();
      await upstream.close();
    });

    /** Starts an application whose calls are answered with these headers, the first one with status 429. */
    async function start(headers: Record<string, string> = {}, problemDetails = false) {
      let calls = 0;
      upstream = await startUpstream((_request, response) => {
        response.writeHead(calls++ === 0 ? 429 : 200, headers).end(`call ${calls}`);
      });

      @Controller()
      class PriceController {
        private readonly fetch: typeof globalThis.fetch;

        constructor(buckets: BucketService) {
          const bucket = buckets.bucket({ name: 'supplier', maxRequest: 2, unit: 'minutes' }, 'all');
          this.fetch = limitFetch(bucket, { maxWait: '1s', maxBlock: '20m' });
        }

        @Get()
        async price(): Promise<string> {
          return (await this.fetch(upstream.url)).text();
        }
      }

      app = await createApp(adapter, {
        imports: [RateLimitModule.forRoot({ ...storeOptions(store), problemDetails })],
        controllers: [PriceController],
      });
      return () => request(app.getHttpServer()).get('/');
    }

    it('answers 503 with Retry-After when the limit is reached', async () => {
      const get = await start();
      expect([(await get()).text, (await get()).text]).toEqual(['call 1', 'call 2']);
      const { status, headers, body } = await get();
      expect(status).toBe(503);
      expect(Number(headers['retry-after'])).toBeGreaterThan(50);
      expect(body).toEqual({
        statusCode: 503,
        error: 'Service Unavailable',
        message: 'The limit of calls to another service is reached',
      });
    });

    it('answers 503 until the upstream admits calls again, with problem details', async () => {
      const get = await start({ 'retry-after': '900' }, true);
      expect((await get()).text).toBe('call 1');
      const { status, headers, body } = await get();
      expect(status).toBe(503);
      expect(headers['content-type']).toMatch(/^application\/problem\+json/);
      expect(Number(headers['retry-after'])).toBeGreaterThan(890);
      expect(body).toMatchObject({ status: 503, title: 'Temporary Reduced Capacity' });
    });
  },
);
