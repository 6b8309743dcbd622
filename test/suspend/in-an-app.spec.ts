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

class Waiting extends SuspendableGuard {
  protected filter(context: SuspendableRequestContext): void {
    suspensions.push(context.suspend());
  }
}

class WaitingAfterwards extends SuspendableInterceptor {
  protected filterResponse(context: SuspendableResponseContext, outcome: ResponseOutcome): void {
    outcomes.push(outcome);
    suspensions.push(context.suspend());
  }
}

class Watching extends SuspendableInterceptor {
  protected filterResponse(_context: SuspendableResponseContext, outcome: ResponseOutcome): void {
    outcomes.push(outcome);
  }
}

class PlainError extends Error {}

@Catch(PlainError)
class Mapping implements ExceptionFilter {
  catch(_error: PlainError, host: ArgumentsHost) {
    const response = host.switchToHttp().getResponse<{ status(code: number): { send(body: string): void } }>();
    response.status(202).send('exception was mapped');
  }
}

@UseFilters(Mapping)
@Controller()
class Resource {
  @UseGuards(Waiting)
  @Get('guarded')
  guarded() {
    handled.push(storage.getStore());
    return 'handler';
  }

  @UseInterceptors(WaitingAfterwards)
  @Get('intercepted')
  intercepted() {
    handled.push(storage.getStore());
    return 'handler';
  }

  @UseInterceptors(Watching)
  @Get('slow')
  async slow() {
    handled.push(storage.getStore());
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    return 'handler';
  }

  @UseInterceptors(Watching)
  @Get('failing')
  failing() {
    throw new PlainError();
  }
}

describe.each(ADAPTERS)('on %s', (adapter) => {
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

  /** A request whose client can leave. */
  const call = (path: string): ClientRequest => get({ port, path, agent: false }).on('error', () => {});
  const answerOf = (path: string) => {
    const answer = request(app.getHttpServer()).get(path);
    return answer.then(({ status, text }) => [status, text]);
  };

  it('a request goes on when its guard is resumed from elsewhere, in its own async context', async () => {
    const answer = answerOf('/guarded');
    await until(() => suspensions.length === 1);
    expect(handled).toEqual([]);
    storage.run('elsewhere', () => suspensions[0].resume());
    expect(await answer).toEqual([200, 'handler']);
    suspensions[0].resume();
    expect(handled).toEqual(['/guarded']);
  });

  it.each(['guarded', 'intercepted'])('an error that /%s fails with late reaches exception filters', async (path) => {
    const answer = answerOf(`/${path}`);
    await until(() => suspensions.length === 1);
    suspensions[0].fail(new PlainError());
    expect(await answer).toEqual([202, 'exception was mapped']);
  });

  it('a response goes out when its interceptor is resumed', async () => {
    const answer = answerOf('/intercepted');
    await until(() => suspensions.length === 1);
    suspensions[0].resume();
    expect(await answer).toEqual([200, 'handler']);
    expect(outcomes).toEqual([{ value: 'handler' }]);
  });

  it('an interceptor sees the errors of handlers', async () => {
    expect(await answerOf('/failing')).toEqual([202, 'exception was mapped']);
    expect(outcomes).toEqual([{ error: expect.any(PlainError) }]);
  });

  it('a client that leaves ends the suspension, and the handler never runs', async () => {
    const client = call('/guarded');
    await until(() => suspensions.length === 1);
    const { signal } = suspensions[0];
    client.destroy();
    await until(() => suspensions[0].settled);
    expect(signal.reason).toBeInstanceOf(ClientGoneError);
    expect(suspensions[0].resume()).toBe(false);
    expect(await answerOf('/failing')).toEqual([202, 'exception was mapped']);
    expect(handled).toEqual([]);
  });

  it('an interceptor is told of a client that leaves before the handler is done, and only of that', async () => {
    const client = call('/slow');
    await until(() => handled.length === 1);
    client.destroy();
    await until(() => outcomes.length === 1);
    expect(outcomes).toEqual([{ error: expect.any(ClientGoneError) }]);
    release();
    await new Promise(setImmediate);
    expect(outcomes).toHaveLength(1);
  });

  it('a client that leaves ends all that it has sent down one connection', async () => {
    const warnings: Error[] = [];
    const note = (warning: Error) => warnings.push(warning);
    process.on('warning', note);
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write('GET /guarded HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(30));
    await until(() => suspensions.length === 30);
    socket.destroy();
    await until(() => suspensions.every(({ settled }) => settled));
    expect(suspensions.some((suspension) => suspension.resume())).toBe(false);
    expect(handled).toEqual([]);
    process.off('warning', note);
    expect(warnings).toEqual([]);
  });

  it('closing the application answers all that are suspended with 503', async () => {
    const answers = [...new Array(5)].map(() => answerOf('/guarded'));
    const after = answerOf('/intercepted');
    await until(() => suspensions.length === 6);
    await app.close();
    for (const [status, body] of await Promise.all([...answers, after])) {
      expect([status, JSON.parse(`${body}`).message]).toEqual([503, 'The application is shutting down']);
    }
    expect(handled).toEqual(['/intercepted']);
  });
});
