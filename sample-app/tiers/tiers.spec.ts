import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { MemoryStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { SampleApp } from '../../test/support/sample-app.js';

let app: SampleApp;
let clock: FakeClock;
beforeEach(async () => {
  clock = new FakeClock();
  app = await SampleApp.start(new MemoryStore({ clock }));
});
afterEach(() => app.close());

const quote = (apiKey?: string) => app.send({ path: '/quotes', apiKey });

it.each([
  ['grace-1906', 100],
  [undefined, 10],
])('allows %s a burst of %d requests, refilled within a minute', async (apiKey, times) => {
  for (let i = 0; i < times; i++) expect((await quote(apiKey)).status).toBe(200);
  const rejected = await quote(apiKey);
  expect([rejected.status, rejected.headers['retry-after']]).toEqual([429, `${Math.ceil(60 / times)}`]);
  await clock.advance(60_000);
  for (let i = 0; i < times; i++) expect((await quote(apiKey)).status).toBe(200);
  expect((await quote(apiKey)).status).toBe(429);
});

it('shares one bucket among invented keys, without affecting customers at the same address', async () => {
  for (let i = 0; i < 10; i++) expect((await quote(`made-up-${i}`)).status).toBe(200);
  expect((await quote('made-up-10')).status).toBe(429);
  expect((await quote()).status).toBe(429);
  expect((await quote('ada-1815')).headers.ratelimit).toBe('"premium";r=999;t=1');
});
