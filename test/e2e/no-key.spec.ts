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
 * A request without a key is an error. Where a stranger can bring that about, it is his error and not that of the
 * server, or he would fill its log with stacks.
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

/** As in Nest, and remembers what it was given. */
const seen: unknown[] = [];
@Catch()
class Seeing extends BaseExceptionFilter {
  override catch(error: unknown, host: ArgumentsHost) {
    seen.push(error);
    super.catch(error, host);
  }
}

/** Runs before all that Nest does. */
type Hook = (incoming: IncomingMessage, response: ServerResponse, next: () => void) => void;

function hook(app: INestApplication, adapter: AdapterName, run: Hook): void {
  if (adapter === 'express') app.use(run);
  // Middleware of Nest would be too late: Fastify has looked at the address before it, and the socket remembers it.
  else
    app
      .getHttpAdapter()
      .getInstance()
      .addHook('onRequest', (sent: Raw, reply: Raw, next: () => void) =>
        run(sent.raw as IncomingMessage, reply.raw as ServerResponse, next),
      );
}

interface Raw {
  readonly raw: unknown;
}

/** Hooks that go on when the client has left, or on its way out. */
const LATE: [string, Hook][] = [
  ['its response is closed', (_incoming, response, next) => void once(response, 'close').then(() => next())],
  [
    'its socket is being closed',
    ({ socket }, _response, next) => {
      socket.destroy();
      next();
    },
  ],
];

describe.each(ADAPTERS)('on %s', (adapter) => {
  let app: INestApplication;
  let before: Hook;
  const logged = jest.spyOn(Logger.prototype, 'error');
  beforeEach(async () => {
    before = (_incoming, _response, next) => next();
    for (const list of [ran, seen]) list.length = 0;
    logged.mockReset().mockImplementation(() => {});
    app = await createApp(
      adapter,
      {
        imports: [RateLimitModule.forRoot()],
        controllers: [Resource],
        providers: [{ provide: APP_FILTER, useClass: Seeing }],
      },
      (unready) => hook(unready, adapter, (...args) => before(...args)),
    );
    await app.listen(0, '127.0.0.1');
  });
  afterEach(() => app.close());

  describe.each(LATE)('a client that has left, when %s', (_when, late) => {
    it.each(['by-address', 'by-ip'])('is no error of the server: %s', async (path) => {
      let reached = false;
      before = (...args) => {
        reached = true;
        late(...args);
      };
      const { port } = app.getHttpServer().address() as AddressInfo;
      const client = get({ port, path: `/${path}`, agent: false }).on('error', () => {});
      await until(() => reached);
      client.destroy();
      await until(() => seen.length > 0);
      expect(seen).toEqual([expect.any(ClientGoneError)]);
      expect(logged).not.toHaveBeenCalled();
      expect(ran).toEqual([]);
    });
  });

  it.each(['by-header', 'by-all'])('a header that is missing is an error of the client: %s', async (path) => {
    const { status, body } = await request(app.getHttpServer()).get(`/${path}`);
    expect([status, body.message]).toEqual([400, 'The header x-api-key is missing']);
    expect(logged).not.toHaveBeenCalled();
    expect((await request(app.getHttpServer()).get(`/${path}`).set('x-api-key', 'k1')).status).toBe(200);
  });

  it('a key of the user that gives nothing is an error of the server', async () => {
    expect((await request(app.getHttpServer()).get('/own')).status).toBe(500);
    expect(String(seen)).toMatch(/^RateLimitResolverError: The key of policy Resource.own must be a text/);
    expect(logged).toHaveBeenCalledTimes(1);
  });
});
