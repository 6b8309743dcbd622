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

/** Returns a fake connection that has closed. */
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
])('RateLimitGuard with a %s context of arguments %j', (type, args) => {
  it('allows requests under the default key, and warns once', async () => {
    for (let i = 0; i < 3; i++) expect(await guard.canActivate(contextOf(type, args, 'byAddress'))).toBe(true);
    expect(warn.mock.calls).toEqual([[expect.stringContaining('set its `key`')]]);
  });

  it('throws on every request keyed by byIp(), and never uses a shared bucket', async () => {
    for (let i = 0; i < 3; i++) {
      expect(() => guard.canActivate(contextOf(type, args, 'byIp'))).toThrow(
        'The key of policy Resource.byIp must be a non-empty string, got undefined',
      );
    }
  });

  it('rejects the second request under an explicit key', async () => {
    expect(guard.canActivate(contextOf(type, args, 'byKey'))).toBe(true);
    const rejected = (async () => guard.canActivate(contextOf(type, args, 'byKey')))();
    await expect(rejected).rejects.toThrow('Too Many Requests');
    const expected = { ws: WsException, rpc: RpcException }[type] ?? RateLimitExceededException;
    await expect(rejected).rejects.toBeInstanceOf(expected);
    const error: { cause?: unknown } = await rejected.catch((reason) => reason);
    expect(error.cause ?? error).toMatchObject({ decision: { allowed: false, policy: 'Resource.byKey' } });
  });
});

describe.each([
  ['ws', [closed({ readyState: 3 })]],
  ['ws', [closed({ disconnected: true })]],
  ['rpc', ['x', { getSocketRef: () => ({ socket: closed({ destroyed: true }) }) }]],
  ['graphql', [{}, {}, { extra: { socket: closed({ readyState: 2 }), request: {} } }, {}]],
  ['graphql', [{}, {}, { req: { socket: closed({ destroyed: true }) } }, {}]],
])('RateLimitGuard after a %s client disconnected', (type, args) => {
  it.each(['byAddress', 'byIp'] as const)(
    'throws ClientGoneError instead of allowing a request without an address: %s',
    (handler) => {
      expect(() => guard.canActivate(contextOf(type, args, handler))).toThrow(ClientGoneError);
      expect(warn).not.toHaveBeenCalled();
    },
  );
});

it.each([
  [[{}, {}, { req: { ip: '203.0.113.1' } }, {}]],
  [[{}, {}, { request: { ip: '203.0.113.1' } }, {}]],
  [[{}, {}, { reply: { request: { ip: '203.0.113.1' } } }, {}]],
  [[{}, {}, { req: { socket: { remoteAddress: '203.0.113.1' } } }, {}]],
  [[{}, {}, { extra: { request: { socket: { remoteAddress: '203.0.113.1' } } } }, {}]],
  [[{}, {}, { req: { extra: { request: { socket: { remoteAddress: '203.0.113.1' } } } } }, {}]],
  [[{}, { req: { ip: '203.0.113.1' } }, {}]],
])('finds the client address of a GraphQL execution: %j', (args) => {
  expect(guard.canActivate(contextOf('graphql', args, 'byAddress'))).toBe(true);
  expect(() => guard.canActivate(contextOf('graphql', args, 'byAddress'))).toThrow(RateLimitExceededException);
});

it.each([
  ['whose class is not in the application', 'http', []],
  ['of an unknown transport, whose interceptors might not run', 'telegraf', [0]],
])('rejects without calling `onLimited` for a handler %s', async (_case, type, found) => {
  @Controller()
  class OnLimitedController {
    @RateLimit({ ...ONE, key: 'all', onLimited: () => 'something else' })
    @Get()
    get() {}
  }
  await app.close();
  app = await createApp('express', {
    imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock: new FakeClock() }) })],
    controllers: found.map(() => OnLimitedController),
  });
  const context = new ExecutionContextHost(
    [{}, { set: () => {} }],
    OnLimitedController,
    OnLimitedController.prototype.get,
  );
  context.setType(type);
  const activate = () => app.get(RateLimitGuard).canActivate(Object.create(context));
  expect(activate()).toBe(true);
  expect(activate).toThrow(RateLimitExceededException);
});

it('writes no headers if they have already been sent', () => {
  const response = { headersSent: true, setHeader: jest.fn() };
  const args = [{}, {}, { req: { ip: '203.0.113.9' }, res: response }, {}];
  expect(guard.canActivate(contextOf('graphql', args, 'byAddress'))).toBe(true);
  expect(response.setHeader).not.toHaveBeenCalled();
});

it('rejects with RateLimitExceededException if the exception class of the transport cannot be loaded', async () => {
  const transport = messageTransport(() => Promise.reject(new Error('Cannot find package')));
  const decision = { retryAfter: 1, allowed: false } as StoreAnswer;
  const context = contextOf('rpc', [{}, {}], 'byAddress');
  expect(await transport.rejection(decision, undefined, context)).toBeInstanceOf(RateLimitExceededException);
});
