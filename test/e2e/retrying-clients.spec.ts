import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import axios, { type AxiosInstance } from 'axios';
import axiosRetry from 'axios-retry';
import got, { type Got } from 'got';
import ky, { type KyInstance } from 'ky';
import * as undici from 'undici';
import { ADAPTERS } from '../support/create-app.js';
import { closeAll, listen, type Run, waitForRun } from '../support/exhausted-app.js';
import { modulesOf, run } from '../support/pages.js';

/*
 * Verifies docs/guides/retrying-clients.md from the server's side. Clients wait for seconds of real time, so all of them run concurrently
 * before the first test. Each test then checks the requests of one client.
 */

type Send = (url: string) => PromiseLike<unknown>;

/** How to send a GET request with the `api` that each section of the page exports. */
const SEND: Record<string, (api: never) => Send> = {
  got: (api: Got) => api,
  ky: (api: KyInstance) => api,
  'axios with axios-retry': (api: AxiosInstance) => (url) => api.get(url),
  undici: (api: Send) => api,
  'fetch by hand': (api: Send) => api,
};
const HEADERS = ['draft-11', 'draft-6', 'legacy', ['draft-11', 'draft-6', 'legacy'], false] as const;
const CASES = Object.keys(SEND).flatMap((client) =>
  ADAPTERS.flatMap((adapter) => HEADERS.map((headers) => ({ client, adapter, headers }))),
);

const retrying = (options: Parameters<typeof axiosRetry>[1], timeout?: number) => {
  const api = axios.create({ timeout });
  axiosRetry(api, options);
  return api;
};
const dispatching = (options: undici.RetryHandler.RetryOptions, method: 'GET' | 'POST' = 'GET'): Send => {
  const dispatcher = new undici.RetryAgent(new undici.Agent(), options);
  return (url) => undici.request(url, { dispatcher, method });
};

/**
 * The clients with their default options, except that `shortDelay` shortens the retry delays for this test, and `bounded`
 * limits the delay that the client accepts.
 */
const DEFAULTS: Record<string, { shortDelay: Send; post: Send; bounded: Send }> = {
  got: {
    shortDelay: (url) => got(url, { retry: { calculateDelay: ({ computedValue }) => Math.min(computedValue, 1) } }),
    post: (url) => got.post(url),
    bounded: (url) => got(url, { retry: { maxRetryAfter: 100 } }),
  },
  ky: {
    shortDelay: (url) => ky(url, { retry: { maxRetryAfter: 1 } }),
    post: (url) => ky.post(url),
    bounded: (url) => ky(url, { retry: { maxRetryAfter: 100 } }),
  },
  'axios-retry': {
    shortDelay: (url) => retrying({ retryDelay: () => 1 }).get(url),
    post: (url) => retrying({}).post(url),
    bounded: (url) => retrying({}, 10_000).get(url),
  },
  undici: {
    shortDelay: dispatching({ maxTimeout: 1 }),
    post: dispatching({}, 'POST'),
    bounded: dispatching({ maxTimeout: 100 }),
  },
};

const running: Promise<unknown>[] = [];
const runs = new Map<string, Run>();
const runOf = (name: string) => runs.get(name) as Run;
const start = (name: string, call: PromiseLike<unknown>) =>
  running.push(waitForRun(name, call).then((run) => runs.set(name, run)));
const nameOf = (testCase: (typeof CASES)[number]) => JSON.stringify(testCase);

beforeAll(async () => {
  const senders = new Map<string, Send>();
  for (const module of modulesOf('docs/guides/retrying-clients.md')) {
    senders.set(module.section, SEND[module.section]((await run(module)).api as never));
  }
  for (const headers of HEADERS) {
    for (const adapter of ADAPTERS) {
      const urlOf = await listen(adapter, { headers });
      for (const [client, send] of senders) {
        const name = nameOf({ client, adapter, headers });
        start(name, send(urlOf('short', name)));
      }
    }
  }
  const urlOf = await listen('express', { headers: 'draft-6' });
  for (const [client, sends] of Object.entries(DEFAULTS)) {
    for (const [how, send] of Object.entries(sends)) {
      start(`${client} ${how}`, send(urlOf('long', `${client} ${how}`)));
    }
  }
  start('reset', ky(`${urlOf('costly', 'reset')}?cost=2`));
  await Promise.all(running);
});
afterAll(closeAll);

it.each(CASES)('$client waits for Retry-After and succeeds on $adapter with headers $headers', (testCase) => {
  const { decisions, error } = runOf(nameOf(testCase));
  expect(error).toBeUndefined();
  expect(decisions.map(({ allowed }) => allowed)).toEqual([false, true]);
  const [denied, admitted] = decisions;
  const retryAfter = Math.ceil(denied.retryAfter / 1000) * 1000;
  expect(admitted.at - denied.at).toBeGreaterThanOrEqual(retryAfter - 1); // a timer may be a fraction early
});

describe('Default retries', () => {
  it.each([
    { client: 'got', shortDelay: 3, bounded: 1, error: 'HTTPError' },
    { client: 'ky', shortDelay: 3, bounded: 3, error: 'HTTPError' },
    { client: 'axios-retry', shortDelay: 4, bounded: 1, error: 'AxiosError' },
    { client: 'undici', shortDelay: 6, bounded: 6, error: 'RequestRetryError' },
  ])('match the table for $client', ({ client, shortDelay, bounded, error }) => {
    const requests = (how: string) => runOf(`${client} ${how}`).decisions.length;
    expect([requests('shortDelay'), requests('bounded'), requests('post')]).toEqual([shortDelay, bounded, 1]);
    expect(runOf(`${client} shortDelay`).error?.name).toBe(error);
  });

  it('wait for RateLimit-Reset in ky if there is no Retry-After', () => {
    const [first, second] = runOf('reset').decisions;
    expect(first.retryAfter).toBe(Infinity);
    expect(second.at - first.at).toBeGreaterThanOrEqual(999);
  });
});
