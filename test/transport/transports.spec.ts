import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, type ExecutionContext, Get, type INestApplication, Logger, type Type } from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { RpcException } from '@nestjs/microservices';
import { WsException } from '@nestjs/websockets';
import {
  byIp,
  ClientGoneError,
  MemoryStore,
  RateLimit,
  RateLimitExceededException,
  RateLimitGuard,
  RateLimitModule,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import type { StoreAnswer } from '../../src/core/decision.js';
import { messageTransport } from '../../src/transport/message.js';
import { createApp } from '../support/create-app.js';

const ONE = { maxRequest: 1, unit: 'minute' } as const;

class Resource {
  @RateLimit(ONE)
  byAddress() {}

  @RateLimit({ ...ONE, key: 'all' })
  byKey() {}

  @RateLimit({ ...ONE, key: byIp() })
  byIp() {}
}

let app: INestApplication;
let guard: RateLimitGuard;
const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
beforeEach(async () => {
  app = await createApp('express', {
    imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock: new FakeClock() }) })],
  });
  guard = app.get(RateLimitGuard);
});
afterEach(async () => {
  warn.mockClear();
  await app.close();
});

function contextOf(type: string, args: unknown[], handler: keyof Resource): ExecutionContext {
  const context = new ExecutionContextHost(args, Resource as Type, Resource.prototype[handler]);
  context.setType(type);
  return context;
}

/** A connection that has ended. */
const closed = (state: object) => Object.assign(new EventEmitter(), state);

describe.each([
  ['ws', []],
  ['ws', [null, null]],
  ['ws', [{}, undefined, 'event']],
  ['ws', [{ _socket: null, handshake: {} }]],
  ['rpc', []],
  ['rpc', [undefined, undefined]],
  ['rpc', [null, null]],
  ['rpc', ['x', { getSocketRef: 1 }]],
  ['rpc', ['x', { getSocketRef: () => undefined }]],
  ['graphql', []],
  ['graphql', [undefined, undefined, undefined, undefined]],
  ['graphql', [{}, {}, { req: null, reply: 7, extra: 'x', res: {} }, {}]],
  ['graphql', [{}, { req: {} }, {}]],
  ['rmq', []],
  ['something', [null]],
])('a request of type %s with %j', (type, args) => {
  it('passes by the default key, with one warning', async () => {
    for (let i = 0; i < 3; i++) expect(await guard.canActivate(contextOf(type, args, 'byAddress'))).toBe(true);
    expect(warn.mock.calls).toEqual([[expect.stringContaining('give it a `key`')]]);
  });

  it('is an error by `byIp`, each time, and never in a bucket with others', async () => {
    for (let i = 0; i < 3; i++) {
      expect(() => guard.canActivate(contextOf(type, args, 'byIp'))).toThrow(
        'The key of policy Resource.byIp must be a text of at least one character, got undefined',
      );
    }
  });

  it('is refused by a key of its own', async () => {
    expect(guard.canActivate(contextOf(type, args, 'byKey'))).toBe(true);
    const refused = (async () => guard.canActivate(contextOf(type, args, 'byKey')))();
    await expect(refused).rejects.toThrow('Too Many Requests');
    const expected = { ws: WsException, rpc: RpcException }[type] ?? RateLimitExceededException;
    await expect(refused).rejects.toBeInstanceOf(expected);
    const error: { cause?: unknown } = await refused.catch((reason) => reason);
    expect(error.cause ?? error).toMatchObject({ decision: { allowed: false, policy: 'Resource.byKey' } });
  });
});

describe.each([
  ['ws', [closed({ readyState: 3 })]],
  ['ws', [closed({ disconnected: true })]],
  ['rpc', ['x', { getSocketRef: () => ({ socket: closed({ destroyed: true }) }) }]],
  ['graphql', [{}, {}, { extra: { socket: closed({ readyState: 2 }), request: {} } }, {}]],
  ['graphql', [{}, {}, { req: { socket: closed({ destroyed: true }) } }, {}]],
])('what a client of type %s has left behind', (type, args) => {
  it.each(['byAddress', 'byIp'] as const)('does not pass because it has no address any more: %s', (handler) => {
    expect(() => guard.canActivate(contextOf(type, args, handler))).toThrow(ClientGoneError);
    expect(warn).not.toHaveBeenCalled();
  });
});

it.each([
  [[{}, {}, { req: { ip: '203.0.113.1' } }, {}]],
  [[{}, {}, { request: { ip: '203.0.113.1' } }, {}]],
  [[{}, {}, { reply: { request: { ip: '203.0.113.1' } } }, {}]],
  [[{}, {}, { req: { socket: { remoteAddress: '203.0.113.1' } } }, {}]],
  [[{}, {}, { extra: { request: { socket: { remoteAddress: '203.0.113.1' } } } }, {}]],
  [[{}, {}, { req: { extra: { request: { socket: { remoteAddress: '203.0.113.1' } } } } }, {}]],
  [[{}, { req: { ip: '203.0.113.1' } }, {}]],
])('finds the client in the context of an execution: %j', (args) => {
  expect(guard.canActivate(contextOf('graphql', args, 'byAddress'))).toBe(true);
  expect(() => guard.canActivate(contextOf('graphql', args, 'byAddress'))).toThrow(RateLimitExceededException);
});

it.each([
  ['of a class that is not in the application', 'http', []],
  ['of an unknown transport, whose interceptors may not run', 'telegraf', [0]],
])('refuses, and asks no `onLimited`, for a handler %s', async (_case, type, found) => {
  @Controller()
  class Answering {
    @RateLimit({ ...ONE, key: 'all', onLimited: () => 'something else' })
    @Get()
    get() {}
  }
  await app.close();
  app = await createApp('express', {
    imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock: new FakeClock() }) })],
    controllers: found.map(() => Answering),
  });
  const context = new ExecutionContextHost([{}, { set: () => {} }], Answering, Answering.prototype.get);
  context.setType(type);
  const ask = () => app.get(RateLimitGuard).canActivate(Object.create(context));
  expect(ask()).toBe(true);
  expect(ask).toThrow(RateLimitExceededException);
});

it('writes no headers into a response that has begun', () => {
  const response = { headersSent: true, setHeader: jest.fn() };
  const args = [{}, {}, { req: { ip: '203.0.113.9' }, res: response }, {}];
  expect(guard.canActivate(contextOf('graphql', args, 'byAddress'))).toBe(true);
  expect(response.setHeader).not.toHaveBeenCalled();
});

it('refuses without the exception of a package that is not there', async () => {
  const transport = messageTransport(
    () => undefined,
    () => Promise.reject(new Error('Cannot find package')),
  );
  const decision = { retryAfter: 1, allowed: false } as StoreAnswer;
  expect(await transport.refusal(decision)).toBeInstanceOf(RateLimitExceededException);
});
