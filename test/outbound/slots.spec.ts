import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import axios, { type AxiosInstance } from 'axios';
import { type Bucket, BucketService, MemoryStore } from 'nest-rate-limit';
import { limitAxios, limitFetch, OutboundLimitExceededException } from 'nest-rate-limit/outbound';
import { FakeClock } from 'nest-rate-limit/testing';
import * as undici from 'undici';
import { warnOnce } from '../../src/observe/logger.js';
import { startUpstream, type Upstream } from '../support/upstream.js';

const PIECE = Buffer.alloc(64 * 1024, 'x');
const undiciFetch = undici.fetch as unknown as typeof fetch;

let upstream: Upstream;
/** The calls that the upstream answers, and the most that it has answered at once. */
let running = 0;
let most = 0;

async function answer({ url }: IncomingMessage, response: ServerResponse) {
  most = Math.max(most, ++running);
  response.once('close', () => running--);
  if (url === '/moved') return response.writeHead(302, { location: '/short' }).end();
  if (url === '/none') return response.writeHead(204).end();
  if (url === '/empty') return response.writeHead(200, { 'content-length': 0 }).end();
  if (url === '/fails') return response.destroy();
  if (url === '/rejects') return response.writeHead(400).end('rejected');
  response.writeHead(200, { 'x-name': 'upstream', 'set-cookie': ['a=1', 'b=2'] }).write('first,');
  // Endless: more than all buffers on the way hold.
  while (url === '/endless' && !response.closed) {
    response.write(PIECE);
    await sleep(1);
  }
  setTimeout(() => response.end('last'), 5);
}

beforeAll(async () => {
  upstream = await startUpstream(answer);
});
afterAll(() => upstream.close());

let clock: FakeClock;
let store: MemoryStore;
let bucket: Bucket;
beforeEach(() => {
  clock = new FakeClock();
  store = new MemoryStore({ clock });
  bucket = new BucketService(store).bucket({ name: 'supplier', concurrency: 2 }, 'all');
  most = 0;
});
afterEach(async () => {
  // Nothing keeps a slot.
  expect(await bucket.available()).toBe(2);
  store.close();
  while (running > 0) await sleep(1);
});

/** Resolves as soon as all slots are free. */
async function untilFree(): Promise<void> {
  while ((await bucket.available()) < 2) await sleep(1);
}

describe.each([
  ['the global fetch', fetch],
  ['fetch of undici', undiciFetch],
])('limitFetch with %s and a policy with a concurrency limit', (_, given) => {
  const limited = (maxWait: '1m' | 0 = 0) => limitFetch(bucket, { fetch: given, maxWait });
  const free = () => bucket.available();

  it('never has more calls at once than slots, as the upstream counts them', async () => {
    const fetch = limited('1m');
    const texts = Array.from({ length: 30 }, async () => (await fetch(`${upstream.url}/short`)).text());
    expect(new Set(await Promise.all(texts))).toEqual(new Set(['first,last']));
    expect(most).toBe(2);
  });

  it('holds the slot until the body has ended, and returns the response as it is', async () => {
    const fetch = limited();
    const response = await fetch(`${upstream.url}/moved`);
    expect(await free()).toBe(1);
    const { url, redirected, type, status, statusText, ok, headers } = response;
    const plain = await given(`${upstream.url}/moved`);
    expect({ url, redirected, type, status, statusText, ok }).toEqual({
      url: `${upstream.url}/short`,
      redirected: true,
      type: 'basic',
      status: 200,
      statusText: 'OK',
      ok: true,
    });
    expect(headers.get('x-name')).toBe('upstream');
    expect(headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    expect(response.constructor).toBe(plain.constructor);
    expect(response.bodyUsed).toBe(false);
    expect([await response.text(), await plain.text()]).toEqual(['first,last', 'first,last']);
    expect(response.bodyUsed).toBe(true);
    await untilFree();
  });

  it('holds the slot until one of the clones has been read', async () => {
    const response = await limited()(`${upstream.url}/moved`);
    const clone = response.clone().clone();
    expect([clone.url, clone.redirected]).toEqual([`${upstream.url}/short`, true]);
    expect(await free()).toBe(1);
    expect(await clone.text()).toBe('first,last');
    await untilFree();
    expect(await response.text()).toBe('first,last');
  });

  it('reads the body in the pieces that a BYOB reader requests', async () => {
    const response = await limited()(`${upstream.url}/short`);
    const reader = response.body?.getReader({ mode: 'byob' }) as ReadableStreamBYOBReader;
    let text = '';
    for (let view = new Uint8Array(4); ; ) {
      const { done, value } = await reader.read(view);
      if (done) break;
      text += Buffer.from(value).toString();
      view = new Uint8Array(value.buffer);
    }
    expect(text).toBe('first,last');
    await untilFree();
  });

  it.each([
    ['of a 204', 'GET', '/none'],
    ['with a length of 0', 'GET', '/empty'],
    ['of a HEAD request', 'HEAD', '/short'],
  ])('releases the slot at once for a response %s', async (_, method, path) => {
    const response = await limited()(`${upstream.url}${path}`, { method });
    expect(await free()).toBe(2);
    expect(await response.text()).toBe('');
  });

  it('releases the slot when the body is canceled', async () => {
    const response = await limited()(`${upstream.url}/endless`);
    expect(await free()).toBe(1);
    await response.body?.cancel();
    await untilFree();
  });

  it('releases the slot when the call is aborted, although the body is not read', async () => {
    const controller = new AbortController();
    const response = await limited()(`${upstream.url}/endless`, { signal: controller.signal });
    controller.abort(new Error('enough'));
    await untilFree();
    await expect(response.text()).rejects.toThrow('enough');
  });

  it('releases the slot when the call fails', async () => {
    await expect(limited()(`${upstream.url}/fails`)).rejects.toThrow('fetch failed');
    await untilFree();
  });

  it('rejects a call that finds no slot in time', async () => {
    const fetch = limited();
    const responses = [await fetch(`${upstream.url}/endless`), await fetch(`${upstream.url}/endless`)];
    await expect(fetch(upstream.url)).rejects.toThrow(OutboundLimitExceededException);
    await Promise.all(responses.map(({ body }) => body?.cancel()));
    await untilFree();
  });

  it('releases the slot of a body that has not been read for 30 seconds, which can still be read', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    warnOnce.reset();
    const response = await limited()(`${upstream.url}/short`);
    await clock.advance(29_999);
    expect(await free()).toBe(1);
    await clock.advance(1);
    await untilFree();
    expect(await response.text()).toBe('first,last');
    expect(warn.mock.calls.map(([message]) => message)).toEqual([
      'Policy supplier released the slot of a call whose response has not been read for 30000 ms: read each body to its end, or cancel it',
    ]);
    warn.mockRestore();
  });

  it('counts the 30 seconds from the last read, and not while a read is waiting', async () => {
    const response = await limited()(`${upstream.url}/endless`);
    const reader = response.body?.getReader() as ReadableStreamDefaultReader;
    for (let i = 0; i < 4; i++) {
      await reader.read();
      await clock.advance(20_000);
    }
    expect(await free()).toBe(1);
    await reader.cancel();
    await untilFree();
  });
});

describe('limitFetch with a function that is not fetch', () => {
  it('holds the slot until a stream of a mock has ended', async () => {
    const fetch = limitFetch(bucket, { maxWait: 0, fetch: async (_: string) => new Response('mocked') });
    const response = await fetch('any');
    expect(await bucket.available()).toBe(1);
    expect(await response.text()).toBe('mocked');
    await untilFree();
  });

  it('holds no slot for a body that has been read', async () => {
    const read = new Response('mocked');
    await read.text();
    const fetch = limitFetch(bucket, { maxWait: 0, fetch: async (_: string) => read });
    expect(await fetch('any')).toBe(read);
  });

  it('holds no slot for a response without a body', async () => {
    const plain = { status: 200, headers: new Headers() };
    expect(await limitFetch(bucket, { maxWait: 0, fetch: async (_: string) => plain })('any')).toBe(plain);
  });
});

describe('limitAxios with a policy with a concurrency limit', () => {
  let api: AxiosInstance;
  beforeEach(() => {
    api = axios.create({ baseURL: upstream.url });
    limitAxios(api, bucket, { maxWait: '1m' });
  });

  it('never has more calls at once than slots, as the upstream counts them', async () => {
    const answers = await Promise.all(Array.from({ length: 30 }, () => api.get('/short')));
    expect(new Set(answers.map(({ data }) => data))).toEqual(new Set(['first,last']));
    expect(most).toBe(2);
  });

  it.each(['/fails', '/rejects', '/none', '/empty'])('releases the slot after %s', async (path) => {
    await api.get(path).catch(() => {});
    await untilFree();
  });

  it('releases the slot when the call is aborted', async () => {
    const controller = new AbortController();
    const call = api.get('/endless', { signal: controller.signal });
    while (running === 0) await sleep(1);
    expect(await bucket.available()).toBe(1);
    controller.abort();
    await expect(call).rejects.toThrow('canceled');
    await untilFree();
  });

  it('releases the slot of a call that another interceptor has ended with an error of its own', async () => {
    const failing = axios.create();
    // Interceptors that are added first run last.
    failing.interceptors.request.use(() => Promise.reject(new Error('not today')));
    limitAxios(failing, bucket, { maxWait: 0 });
    await expect(failing.get(upstream.url)).rejects.toThrow('not today');
    expect(await bucket.available()).toBe(1);
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    while ((await bucket.available()) < 2) {
      collectGarbage();
      await sleep(1);
    }
  });

  describe.each(['http', 'fetch'] as const)('and streams of the adapter %s', (adapter) => {
    const stream = async (path: string, more = {}) => {
      const { data } = await api.request({ url: path, responseType: 'stream', adapter, ...more });
      return data as AsyncIterable<Uint8Array> & Readable & ReadableStream;
    };

    it('holds the slot until the stream has ended', async () => {
      const data = await stream('/short');
      expect(await bucket.available()).toBe(1);
      let text = '';
      for await (const piece of data) text += Buffer.from(piece).toString();
      expect(text).toBe('first,last');
      await untilFree();
    });

    it('releases the slot when the stream is destroyed', async () => {
      const data = await stream('/endless');
      expect(await bucket.available()).toBe(1);
      if (adapter === 'http') data.destroy();
      else await data.cancel();
      await untilFree();
    });

    it('holds the slot of a rejected call until its stream has ended', async () => {
      const error = await stream('/rejects').catch((reason) => reason);
      expect(await bucket.available()).toBe(1);
      for await (const piece of error.response.data) expect(Buffer.from(piece).toString()).toBe('rejected');
      await untilFree();
    });

    it('releases the slot at once for HEAD', async () => {
      await stream('/short', { method: 'HEAD' });
      expect(await bucket.available()).toBe(2);
    });

    it('releases the slot of a stream that has not been read for 30 seconds', async () => {
      const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
      const data = await stream('/short');
      await clock.advance(30_000);
      await untilFree();
      let text = '';
      for await (const piece of data) text += Buffer.from(piece).toString();
      expect(text).toBe('first,last');
      warn.mockRestore();
    });
  });
});
