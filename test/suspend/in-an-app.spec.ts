import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { type ClientRequest, get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  type ArgumentsHost,
  Catch,
  Controller,
  type ExceptionFilter,
  Get,
  type INestApplication,
  UseFilters,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import {
  ClientGoneError,
  type ResponseOutcome,
  SuspendableGuard,
  SuspendableInterceptor,
  type SuspendableRequestContext,
  type SuspendableResponseContext,
  type Suspension,
} from 'nest-rate-limit';
import request from 'supertest';
import { ADAPTERS, createApp } from '../support/create-app.js';
import { until } from '../support/requests.js';

const storage = new AsyncLocalStorage<string>();
let suspensions: Suspension[] = [];
let outcomes: ResponseOutcome[] = [];
let handled: (string | undefined)[] = [];
let release = () => {};

class SuspendingGuard extends SuspendableGuard {
  protected filter(context: SuspendableRequestContext): void {
    suspensions.push(context.suspend());
  }
}

class SuspendingInterceptor extends SuspendableInterceptor {
  protected filterResponse(context: SuspendableResponseContext, outcome: ResponseOutcome): void {
    outcomes.push(outcome);
    suspensions.push(context.suspend());
  }
}

class RecordingInterceptor extends SuspendableInterceptor {
  protected filterResponse(_context: SuspendableResponseContext, outcome: ResponseOutcome): void {
    outcomes.push(outcome);
  }
}

class PlainError extends Error {}

@Catch(PlainError)
class PlainErrorFilter implements ExceptionFilter {
  catch(_error: PlainError, host: ArgumentsHost) {
    const response = host.switchToHttp().getResponse<{ status(code: number): { send(body: string): void } }>();
    response.status(202).send('exception was mapped');
  }
}

@UseFilters(PlainErrorFilter)
@Controller()
class Resource {
  @UseGuards(SuspendingGuard)
  @Get('guarded')
  guarded() {
    handled.push(storage.getStore());
    return 'handler';
  }

  @UseInterceptors(SuspendingInterceptor)
  @Get('intercepted')
  intercepted() {
    handled.push(storage.getStore());
    return 'handler';
  }

  @UseInterceptors(RecordingInterceptor)
  @Get('slow')
  async slow() {
    handled.push(storage.getStore());
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    return 'handler';
  }

  @UseInterceptors(RecordingInterceptor)
  @Get('failing')
  failing() {
    throw new PlainError();
  }
}

describe.each(ADAPTERS)('SuspendableGuard and SuspendableInterceptor in an application on %s', (adapter) => {
  let app: INestApplication;
  let port: number;
  beforeEach(async () => {
    suspensions = [];
    outcomes = [];
    handled = [];
    app = await createApp(adapter, { controllers: [Resource] }, (unready) => {
      unready.use((incoming: IncomingMessage, _response: unknown, next: () => void) =>
        storage.run(`${incoming.url}`, next),
      );
    });
    await app.listen(0, '127.0.0.1');
    port = (app.getHttpServer().address() as AddressInfo).port;
  });
  afterEach(() => app.close());

  /** Sends a request that the client can abort. */
  const call = (path: string): ClientRequest => get({ port, path, agent: false }).on('error', () => {});
  const responseTo = (path: string) => {
    const response = request(app.getHttpServer()).get(path);
    return response.then(({ status, text }) => [status, text]);
  };

  it('continues a request in its own async context when the guard is resumed from another one', async () => {
    const response = responseTo('/guarded');
    await until(() => suspensions.length === 1);
    expect(handled).toEqual([]);
    storage.run('elsewhere', () => suspensions[0].resume());
    expect(await response).toEqual([200, 'handler']);
    suspensions[0].resume();
    expect(handled).toEqual(['/guarded']);
  });

  it.each(['guarded', 'intercepted'])(
    'passes a late error of the suspended route /%s to exception filters',
    async (path) => {
      const response = responseTo(`/${path}`);
      await until(() => suspensions.length === 1);
      suspensions[0].fail(new PlainError());
      expect(await response).toEqual([202, 'exception was mapped']);
    },
  );

  it('sends the response when the interceptor is resumed', async () => {
    const response = responseTo('/intercepted');
    await until(() => suspensions.length === 1);
    suspensions[0].resume();
    expect(await response).toEqual([200, 'handler']);
    expect(outcomes).toEqual([{ value: 'handler' }]);
  });

  it('passes handler errors to the interceptor', async () => {
    expect(await responseTo('/failing')).toEqual([202, 'exception was mapped']);
    expect(outcomes).toEqual([{ error: expect.any(PlainError) }]);
  });

  it('ends the suspension when the client disconnects, and never runs the handler', async () => {
    const client = call('/guarded');
    await until(() => suspensions.length === 1);
    const { signal } = suspensions[0];
    client.destroy();
    await until(() => suspensions[0].settled);
    expect(signal.reason).toBeInstanceOf(ClientGoneError);
    expect(suspensions[0].resume()).toBe(false);
    expect(await responseTo('/failing')).toEqual([202, 'exception was mapped']);
    expect(handled).toEqual([]);
  });

  it('reports a disconnect to the interceptor before the handler returns, and nothing after that', async () => {
    const client = call('/slow');
    await until(() => handled.length === 1);
    client.destroy();
    await until(() => outcomes.length === 1);
    expect(outcomes).toEqual([{ error: expect.any(ClientGoneError) }]);
    release();
    await new Promise(setImmediate);
    expect(outcomes).toHaveLength(1);
  });

  it('ends all pipelined requests when their connection closes', async () => {
    const warnings: Error[] = [];
    const record = (warning: Error) => warnings.push(warning);
    process.on('warning', record);
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write('GET /guarded HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(30));
    await until(() => suspensions.length === 30);
    socket.destroy();
    await until(() => suspensions.every(({ settled }) => settled));
    expect(suspensions.some((suspension) => suspension.resume())).toBe(false);
    expect(handled).toEqual([]);
    process.off('warning', record);
    expect(warnings).toEqual([]);
  });

  it('rejects all suspended requests with 503 when the application closes', async () => {
    const responses = [...new Array(5)].map(() => responseTo('/guarded'));
    const after = responseTo('/intercepted');
    await until(() => suspensions.length === 6);
    await app.close();
    for (const [status, body] of await Promise.all([...responses, after])) {
      expect([status, JSON.parse(`${body}`).message]).toEqual([503, 'The application is shutting down']);
    }
    expect(handled).toEqual(['/intercepted']);
  });
});
