import { once } from 'node:events';
import { get, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import {
  type ArgumentsHost,
  Catch,
  Controller,
  type ExecutionContext,
  Get,
  type INestApplication,
  Logger,
} from '@nestjs/common';
import { APP_FILTER, BaseExceptionFilter } from '@nestjs/core';
import { byAll, byHeader, byIp, ClientGoneError, RateLimit, RateLimitModule } from 'nest-rate-limit';
import request from 'supertest';
import { ADAPTERS, type AdapterName, createApp } from '../support/create-app.js';
import { until } from '../support/requests.js';

/*
 * A request without a key is an error. If a client can cause it, it is a client error: otherwise clients could fill the
 * server's log with stack traces.
 */

const ONE = { maxRequest: 1, unit: 'minute' } as const;
const ran: string[] = [];

@Controller()
class Resource {
  @RateLimit(ONE)
  @Get('by-address')
  byAddress() {
    ran.push('by-address');
  }

  @RateLimit({ ...ONE, key: byIp() })
  @Get('by-ip')
  byIp() {
    ran.push('by-ip');
  }

  @RateLimit({ ...ONE, key: byHeader('X-Api-Key') })
  @Get('by-header')
  byHeader() {}

  @RateLimit({ ...ONE, key: byAll(byIp(), byHeader('X-Api-Key')) })
  @Get('by-all')
  byAll() {}

  @RateLimit({ ...ONE, key: (context: ExecutionContext) => context.getArgByIndex(0).headers['x-api-key'] })
  @Get('own')
  own() {}
}

/** Nest's default filter, which also records the errors. */
const errors: unknown[] = [];
@Catch()
class RecordingFilter extends BaseExceptionFilter {
  override catch(error: unknown, host: ArgumentsHost) {
    errors.push(error);
    super.catch(error, host);
  }
}

/** Runs before any code of Nest. */
type Hook = (incoming: IncomingMessage, response: ServerResponse, next: () => void) => void;

function hook(app: INestApplication, adapter: AdapterName, run: Hook): void {
  if (adapter === 'express') app.use(run);
  // Nest middleware would run too late: Fastify has read the address by then, and the socket caches it.
  else
    app
      .getHttpAdapter()
      .getInstance()
      .addHook('onRequest', (incoming: Raw, reply: Raw, next: () => void) =>
        run(incoming.raw as IncomingMessage, reply.raw as ServerResponse, next),
      );
}

interface Raw {
  readonly raw: unknown;
}

/** Hooks that continue after the client has disconnected, or while its socket closes. */
const DISCONNECTS: [string, Hook][] = [
  ['the response is closed', (_incoming, response, next) => void once(response, 'close').then(() => next())],
  [
    'the socket is being closed',
    ({ socket }, _response, next) => {
      socket.destroy();
      next();
    },
  ],
];

describe.each(ADAPTERS)('Requests without a key on %s', (adapter) => {
  let app: INestApplication;
  let before: Hook;
  const logged = jest.spyOn(Logger.prototype, 'error');
  beforeEach(async () => {
    before = (_incoming, _response, next) => next();
    for (const list of [ran, errors]) list.length = 0;
    logged.mockReset().mockImplementation(() => {});
    app = await createApp(
      adapter,
      {
        imports: [RateLimitModule.forRoot()],
        controllers: [Resource],
        providers: [{ provide: APP_FILTER, useClass: RecordingFilter }],
      },
      (created) => hook(created, adapter, (...args) => before(...args)),
    );
    await app.listen(0, '127.0.0.1');
  });
  afterEach(() => app.close());

  describe.each(DISCONNECTS)('from a disconnected client, when %s', (_when, disconnect) => {
    it.each(['by-address', 'by-ip'])('are not logged as server errors: %s', async (path) => {
      let reached = false;
      before = (...args) => {
        reached = true;
        disconnect(...args);
      };
      const { port } = app.getHttpServer().address() as AddressInfo;
      const client = get({ port, path: `/${path}`, agent: false }).on('error', () => {});
      await until(() => reached);
      client.destroy();
      await until(() => errors.length > 0);
      expect(errors).toEqual([expect.any(ClientGoneError)]);
      expect(logged).not.toHaveBeenCalled();
      expect(ran).toEqual([]);
    });
  });

  it.each(['by-header', 'by-all'])('are rejected with 400 if a header is missing: %s', async (path) => {
    const { status, body } = await request(app.getHttpServer()).get(`/${path}`);
    expect([status, body.message]).toEqual([400, 'The header x-api-key is missing']);
    expect(logged).not.toHaveBeenCalled();
    expect((await request(app.getHttpServer()).get(`/${path}`).set('x-api-key', 'k1')).status).toBe(200);
  });

  it('fail with 500 and are logged if a custom key function returns undefined', async () => {
    expect((await request(app.getHttpServer()).get('/own')).status).toBe(500);
    expect(String(errors)).toMatch(
      /^RateLimitResolverError: The key of policy Resource.own must be a non-empty string/,
    );
    expect(logged).toHaveBeenCalledTimes(1);
  });
});
