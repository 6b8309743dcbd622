import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { MemoryStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { until } from '../../test/support/requests.js';
import { SampleApp } from '../../test/support/sample-app.js';
import { connect, type SocketClient } from '../../test/support/websocket.js';

let app: SampleApp;
let clock: FakeClock;
const clients: SocketClient[] = [];
beforeEach(async () => {
  clock = new FakeClock();
  app = await SampleApp.start(new MemoryStore({ clock }));
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await app.close();
});

async function join(): Promise<SocketClient> {
  const client = await connect(app.app, 'ws', '127.0.0.1', '/chat');
  clients.push(client);
  return client;
}

async function heard({ received }: SocketClient, count: number) {
  await until(() => received.length >= count);
  return received.splice(0);
}

const REJECTED = ['exception', { status: 'error', message: 'Too many messages', retryAfter: 1000 }];

it('broadcasts messages, and sends a rejection only to its sender', async () => {
  const ada = await join();
  const grace = await join();
  for (const word of [1, 2, 3, 4, 5, 6]) ada.send('say', `${word}`);
  expect(await heard(ada, 6)).toEqual([...'12345'].map((word) => ['said', word]).concat([REJECTED as never]));
  expect(await heard(grace, 5)).toEqual([...'12345'].map((word) => ['heard', word]));
  grace.send('say', 'me too');
  expect(await heard(grace, 1)).toEqual([['said', 'me too']]);
  expect(await heard(ada, 1)).toEqual([['heard', 'me too']]);
  await clock.advance(1000);
  ada.send('say', 'again');
  expect(await heard(ada, 1)).toEqual([['said', 'again']]);
});

it.each([undefined, '', 7])('rejects the invalid message %j', async (data) => {
  const ada = await join();
  ada.send('say', data);
  expect(await heard(ada, 1)).toEqual([
    ['exception', expect.objectContaining({ message: 'The message must be a non-empty string' })],
  ]);
});
