import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, Get, type INestApplication, Logger } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { MemoryStore, RateLimit, RateLimitModule, type RateLimitOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { ADAPTERS, createApp } from '../support/create-app.js';
import { until } from '../support/requests.js';
import { connect, SOCKETS, useSockets } from '../support/websocket.js';

type Message = RateLimitOptions['message'];

/** A message of any type, as JavaScript can return it. */
const returning = (value: unknown) => () => value as string;
const MESSAGES: [name: string, message: Message, body: object | undefined][] = [
  ['a promise of a string', async () => 'slow down', { statusCode: 429, message: 'slow down' }],
  ['a promise of an object', async () => ({ error: 'slow_down' }), { error: 'slow_down' }],
  ['a promise of undefined', returning(Promise.resolve()), { statusCode: 429, message: 'Too Many Requests' }],
  ['undefined', returning(undefined), { statusCode: 429, message: 'Too Many Requests' }],
  ['null', returning(null), undefined],
  ['a number', returning(7), undefined],
  ['a promise of null', returning(Promise.resolve(null)), undefined],
  ['a rejected promise', returning(Promise.reject(new Error('no message'))), undefined],
];
for (const [, message] of MESSAGES) {
  // The rejected promise is handled by the request that awaits it.
  if (typeof message === 'function') Promise.resolve((message as () => unknown)()).catch(() => {});
}

const once = (message: Message): RateLimitOptions => ({
  name: 'one',
  maxRequest: 1,
  unit: 'hours',
  key: 'all',
  message,
});

let app: INestApplication;
afterEach(async () => {
  await app.close();
  jest.restoreAllMocks();
});

describe.each(ADAPTERS)('A message function on %s', (adapter) => {
  const rejectOne = async (message: Message, ofModule: boolean) => {
    @Controller()
    class Resource {
      @RateLimit(once(ofModule ? undefined : message))
      @Get()
      get() {}
    }
    const store = new MemoryStore({ clock: new FakeClock() });
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot({ store, ...(ofModule && { message }) })],
      controllers: [Resource],
    });
    await request(app.getHttpServer()).get('/').expect(200);
    return request(app.getHttpServer()).get('/');
  };

  it.each(MESSAGES)('may return %s', async (name, message, body) => {
    const errors = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => {});
    for (const ofModule of [false, true]) {
      const response = await rejectOne(message, ofModule);
      expect([response.status, response.body]).toEqual(
        body ? [429, body] : [500, { statusCode: 500, message: 'Internal server error' }],
      );
      if (!ofModule) await app.close();
    }
    const logged = errors.mock.calls.map(([error]) => String(error));
    if (body) expect(logged).toEqual([]);
    else if (name === 'a rejected promise') expect(logged).toEqual(['Error: no message', 'Error: no message']);
    else
      expect(logged[0]).toMatch(/RateLimitResolverError: The message of policy one must be a string or an object, got/);
  });
});

describe.each(SOCKETS)('A message function of a gateway on %s', (name) => {
  it('may return a promise', async () => {
    @WebSocketGateway()
    class Gateway {
      @RateLimit(once(async () => ({ error: 'slow_down' })))
      @SubscribeMessage('send')
      send() {}
    }
    const store = new MemoryStore({ clock: new FakeClock() });
    const metadata = { imports: [RateLimitModule.forRoot({ store })], providers: [Gateway] };
    app = await createApp('express', metadata, (one) => useSockets(one, name));
    await app.listen(0, '127.0.0.1');
    const client = await connect(app, name);
    for (let i = 0; i < 2; i++) client.send('send', 1);
    await until(() => client.received.length > 0);
    client.close();
    expect(client.received).toEqual([['exception', { error: 'slow_down' }]]);
  });
});
