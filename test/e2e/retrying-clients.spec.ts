import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import axios, { type AxiosInstance } from 'axios';
import axiosRetry from 'axios-retry';
import got, { type Got } from 'got';
import ky, { type KyInstance } from 'ky';
import * as undici from 'undici';
import { ADAPTERS } from '../support/create-app.js';
import { closeAll, finish, listen, type Run } from '../support/exhausted-app.js';
import { modulesOf, run } from '../support/pages.js';

/*
 * What docs/clients.md says, seen from the server. Clients wait for whole seconds of real time: so all of them run at
 * once, before the first test, and each test looks at what one of them did.
 */

type Send = (url: string) => PromiseLike<unknown>;

/** How one sends a GET with what each section of the page makes. */
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

/** The clients with nothing set but what spares this test their waiting; `bounded` does not want to wait so long. */
const DEFAULTS: Record<string, { hasty: Send; post: Send; bounded: Send }> = {
  got: {
    hasty: (url) => got(url, { retry: { calculateDelay: ({ computedValue }) => Math.min(computedValue, 1) } }),
    post: (url) => got.post(url),
    bounded: (url) => got(url, { retry: { maxRetryAfter: 100 } }),
  },
  ky: {
    hasty: (url) => ky(url, { retry: { maxRetryAfter: 1 } }),
    post: (url) => ky.post(url),
    bounded: (url) => ky(url, { retry: { maxRetryAfter: 100 } }),
  },
  'axios-retry': {
    hasty: (url) => retrying({ retryDelay: () => 1 }).get(url),
    post: (url) => retrying({}).post(url),
    bounded: (url) => retrying({}, 10_000).get(url),
  },
  undici: {
    hasty: dispatching({ maxTimeout: 1 }),
    post: dispatching({}, 'POST'),
    bounded: dispatching({ maxTimeout: 100 }),
  },
};

const running: Promise<unknown>[] = [];
const runs = new Map<string, Run>();
const runOf = (name: string) => runs.get(name) as Run;
const start = (name: string, call: PromiseLike<unknown>) =>
  running.push(finish(name, call).then((run) => runs.set(name, run)));
const nameOf = (sent: (typeof CASES)[number]) => JSON.stringify(sent);

beforeAll(async () => {
  const senders = new Map<string, Send>();
  for (const module of modulesOf('docs/clients.md')) {
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

it.each(CASES)('$client is refused once by $adapter with headers $headers, waits, and passes', (sent) => {
  const { decisions, error } = runOf(nameOf(sent));
  expect(error).toBeUndefined();
  expect(decisions.map(({ allowed }) => allowed)).toEqual([false, true]);
  const [refused, passed] = decisions;
  const retryAfter = Math.ceil(refused.retryAfter / 1000) * 1000;
  expect(passed.at - refused.at).toBeGreaterThanOrEqual(retryAfter - 1); // a timer may be a fraction early
});

describe('by itself', () => {
  it.each([
    { client: 'got', hasty: 3, bounded: 1, error: 'HTTPError' },
    { client: 'ky', hasty: 3, bounded: 3, error: 'HTTPError' },
    { client: 'axios-retry', hasty: 4, bounded: 1, error: 'AxiosError' },
    { client: 'undici', hasty: 6, bounded: 6, error: 'RequestRetryError' },
  ])('$client does what the table says', ({ client, hasty, bounded, error }) => {
    const requests = (how: string) => runOf(`${client} ${how}`).decisions.length;
    expect([requests('hasty'), requests('bounded'), requests('post')]).toEqual([hasty, bounded, 1]);
    expect(runOf(`${client} hasty`).error?.name).toBe(error);
  });

  it('ky waits for RateLimit-Reset where there is no Retry-After', () => {
    const [first, second] = runOf('reset').decisions;
    expect(first.retryAfter).toBe(Infinity);
    expect(second.at - first.at).toBeGreaterThanOrEqual(999);
  });
});
