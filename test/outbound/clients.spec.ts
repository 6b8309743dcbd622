import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { HttpModule, HttpService } from '@nestjs/axios';
import { Test } from '@nestjs/testing';
import axios, { type AxiosError } from 'axios';
import axiosRetry from 'axios-retry';
import { type Bucket, BucketService, MemoryStore } from 'nest-rate-limit';
import { limitAxios, limitFetch, OutboundLimitExceededException } from 'nest-rate-limit/outbound';
import { lastValueFrom } from 'rxjs';
import * as undici from 'undici';
import { startUpstream, type Upstream } from '../support/upstream.js';

const store = new MemoryStore();
const buckets = new BucketService(store);
let upstream: Upstream;
/** The requests that the upstream received, with the answers that it gives first. */
let received: string[] = [];
let answers: { status: number; headers?: Record<string, string> }[] = [];

beforeAll(async () => {
  upstream = await startUpstream(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    received.push(`${request.method} ${request.url} ${body}`.trim());
    if (request.url === '/moved') return response.writeHead(307, { location: '/here' }).end();
    const { status, headers } = answers.shift() ?? { status: 200 };
    response.writeHead(status, headers);
    response.write('first,');
    setImmediate(() => response.end('last'));
  });
});
afterAll(async () => {
  store.close();
  await upstream.close();
});

let bucket: Bucket;
let count = 0;
beforeEach(() => {
  received = [];
  answers = [];
  // Refills so slowly that no call waits without being noticed.
  bucket = buckets.bucket({ capacity: 3, refill: 1, unit: 'hours' }, `${++count}`);
});
const left = async () => Math.floor(await bucket.available());

describe.each([
  ['the global fetch', undefined],
  ['fetch of undici', undici.fetch as unknown as typeof fetch],
])('limitFetch with %s', (_, given) => {
  const limited = (maxWait: '1s' | 0 = '1s') => limitFetch(bucket, { fetch: given, maxWait });

  it('sends calls as they are, and rejects those beyond the limit without sending them', async () => {
    const fetch = limited();
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('streamed'));
        controller.close();
      },
    });
    const response = await fetch(`${upstream.url}/post`, { method: 'POST', body, duplex: 'half' } as RequestInit);
    expect(response.body).toBeDefined();
    expect(await response.text()).toBe('first,last');
    expect(await (await fetch(new URL(`${upstream.url}/url`))).text()).toBe('first,last');
    expect((await fetch(`${upstream.url}/moved`)).url).toBe(`${upstream.url}/here`);
    await expect(fetch(upstream.url)).rejects.toThrow(OutboundLimitExceededException);
    expect(received).toEqual(['POST /post streamed', 'GET /url', 'GET /moved', 'GET /here']);
  });

  it('returns a rejection of the upstream, and blocks the bucket', async () => {
    answers = [{ status: 429, headers: { 'retry-after': '20' } }];
    const fetch = limited();
    const response = await fetch(upstream.url);
    expect(response.status).toBe(429);
    expect(await response.text()).toBe('first,last');
    await expect(fetch(upstream.url)).rejects.toMatchObject({ status: 503, retryAfter: expect.any(Number) });
    expect((await bucket.estimate()).retryAfter).toBeGreaterThan(18_000);
    expect(received).toHaveLength(1);
  });

  it('stops waiting when the signal is aborted, and returns the token', async () => {
    await bucket.consume(3);
    const fetch = limitFetch(bucket, { fetch: given, maxWait: Infinity });
    const controller = new AbortController();
    const waiting = fetch(upstream.url, { signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    expect(await left()).toBe(0);
    expect(received).toEqual([]);
  });

  it('passes on errors of the network, and keeps the token', async () => {
    await expect(limited()('http://127.0.0.1:1')).rejects.toThrow('fetch failed');
    expect(await left()).toBe(2);
  });
});

describe('limitFetch with a Request', () => {
  const fetchLater = (controller: AbortController, init?: RequestInit) => {
    const request = new Request(`${upstream.url}/request`, {
      method: 'PUT',
      body: 'body',
      signal: controller.signal,
    });
    return limitFetch(bucket, { maxWait: Infinity })(request, init);
  };

  it('sends it', async () => {
    expect((await fetchLater(new AbortController())).status).toBe(200);
    expect(received).toEqual(['PUT /request body']);
  });

  it.each<[string, () => RequestInit | undefined]>([
    ['its signal', () => undefined],
    ['the signal of the second argument', () => ({ signal: AbortSignal.abort(new Error('enough')) })],
  ])('stops waiting for %s', async (_, init) => {
    await bucket.consume(3);
    const controller = new AbortController();
    const waiting = fetchLater(controller, init());
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    expect(await left()).toBe(0);
  });
});

describe('limitFetch', () => {
  const { fetch } = globalThis;
  afterEach(() => {
    globalThis.fetch = fetch;
  });

  it('uses the global fetch of the time of each call', async () => {
    const limited = limitFetch(bucket, { maxWait: 0 });
    globalThis.fetch = async () => new Response('mocked');
    expect(await (await limited(upstream.url)).text()).toBe('mocked');
  });
});

describe('limitAxios', () => {
  const rejected = { status: 429, headers: { 'retry-after': '20' } };

  it('limits calls, and blocks the bucket if one is rejected', async () => {
    const api = axios.create({ baseURL: upstream.url });
    limitAxios(api, bucket, { maxWait: '1s' });
    expect((await api.post('/post', 'body')).data).toBe('first,last');
    answers = [rejected];
    const error = await api.get('/').catch((reason: AxiosError) => reason);
    expect(error).toMatchObject({ name: 'AxiosError', response: { status: 429, data: 'first,last' } });
    await expect(api.get('/')).rejects.toThrow(OutboundLimitExceededException);
    expect(await left()).toBe(0);
    expect((await bucket.estimate()).retryAfter).toBeGreaterThan(18_000);
    expect(received).toEqual(['POST /post body', 'GET /']);
  });

  it('blocks the bucket if `validateStatus` accepts the rejection', async () => {
    answers = [rejected];
    const api = axios.create({ validateStatus: () => true });
    limitAxios(api, bucket, { maxWait: '1s' });
    expect((await api.get(upstream.url)).status).toBe(429);
    expect((await bucket.estimate()).allowed).toBe(false);
  });

  it('reads headers that are an object, as before version 1', async () => {
    const api = axios.create();
    limitAxios(api, bucket, { maxWait: '1s' });
    api.defaults.adapter = async (config) => ({ ...rejected, config, statusText: '', data: '' });
    await api.get(upstream.url);
    expect((await bucket.estimate()).retryAfter).toBeGreaterThan(18_000);
  });

  it('stops waiting when the signal is aborted', async () => {
    await bucket.consume(3);
    const api = axios.create();
    limitAxios(api, bucket, { maxWait: Infinity });
    const controller = new AbortController();
    const waiting = api.get(upstream.url, { signal: controller.signal });
    await Promise.resolve();
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    expect(await left()).toBe(0);
  });

  it('takes a token for each retry, and none once it is removed', async () => {
    answers = [{ status: 500 }, { status: 500 }];
    const api = axios.create({ baseURL: upstream.url });
    const remove = limitAxios(api, bucket, { maxWait: '1s' });
    axiosRetry(api, { retryDelay: () => 1 });
    expect((await api.get('/')).status).toBe(200);
    expect(await left()).toBe(0);
    remove();
    expect((await api.get('/')).status).toBe(200);
  });

  it('holds a retry until the end of the block that the rejection caused', async () => {
    answers = [{ status: 429, headers: { 'retry-after-ms': '300' } }];
    const api = axios.create({ baseURL: upstream.url });
    limitAxios(api, bucket, { maxWait: '1s' });
    axiosRetry(api, { retries: 1, retryDelay: () => 1, retryCondition: () => true });
    const start = performance.now();
    expect((await api.get('/')).status).toBe(200);
    expect(performance.now() - start).toBeGreaterThan(295);
  });

  it('limits the HttpService of Nest', async () => {
    const module = await Test.createTestingModule({ imports: [HttpModule] }).compile();
    const http = module.get(HttpService);
    limitAxios(http.axiosRef, bucket, { maxWait: 0 });
    for (let i = 0; i < 3; i++) expect((await lastValueFrom(http.get(upstream.url))).status).toBe(200);
    await expect(lastValueFrom(http.get(upstream.url))).rejects.toThrow(OutboundLimitExceededException);
  });
});
