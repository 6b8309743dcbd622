import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { MemoryStore } from 'nest-rate-limit';
import { SampleApp } from '../../test/support/sample-app.js';

/** The time that Apollo gives open requests at shutdown. */
const GRACE_PERIOD = 10_000;

let app: SampleApp;
let stream: IncomingMessage;
beforeEach(async () => {
  app = await SampleApp.start(new MemoryStore());
  [stream] = await once(get(`${await app.app.getUrl()}/events`), 'response');
  stream.setEncoding('utf8');
});
afterEach(() => app.close());

async function nextEvent(): Promise<string> {
  const [event] = await once(stream, 'data');
  return event;
}

it('begins with the state of the store, and the delay of reconnects', async () => {
  expect(await nextEvent()).toMatch(/event: store\nid: 1\nretry: 1000\ndata: \{"state":"memory"\}/);
});

it('sends decisions without keys', async () => {
  await nextEvent();
  const events = nextEvent();
  await app.send({ path: '/mail', form: 'to=ada@example.com' });
  expect(await events).toMatch(/event: decisions\n.*"policy":"mail","allowed":true/s);
  expect(await events).not.toMatch(/ada|key/);
});

it('sends the releases of slots without keys', async () => {
  await app.send({ path: '/exports' });
  const events = await nextEvent();
  const all = events.includes('released') ? events : await nextEvent();
  expect(all).toMatch(/"policy":"ExportsController.run","bucket":"[0-9a-f]{4}","released":true/);
});

it('ends when the app closes, before the GraphQL server waits for open requests', async () => {
  const ended = once(stream.resume(), 'end');
  const start = performance.now();
  await app.close();
  await ended;
  expect(performance.now() - start).toBeLessThan(GRACE_PERIOD);
});
