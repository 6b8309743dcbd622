import { once } from 'node:events';
import { IncomingMessage, request as requestHttp1, ServerResponse } from 'node:http';
import { connect as connectHttp2, constants } from 'node:http2';
import { type AddressInfo, Socket } from 'node:net';
import { Writable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  type CanActivate,
  Controller,
  ForbiddenException,
  Get,
  type INestApplication,
  type NestInterceptor,
  RequestTimeoutException,
  type Type,
  UnauthorizedException,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { Query, Resolver } from '@nestjs/graphql';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { BucketService, ClientGoneError, MemoryStore, type Outcome, RateLimit, RateLimitModule } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import {
  catchError,
  first,
  firstValueFrom,
  from,
  lastValueFrom,
  type Observable,
  of,
  retry,
  take,
  throwError,
  timeout,
} from 'rxjs';
import { createApp } from '../support/create-app.js';
import { adapterOf, SERVERS as GRAPHQL_SERVERS, graphqlModule, query } from '../support/graphql.js';
import { until } from '../support/requests.js';

const FIVE = { name: 'five', capacity: 5, refill: 0, key: 'all' } as const;
const outcomes: Outcome[] = [];
let runs = 0;
let release = () => {};

const through = (pipe: (values: Observable<unknown>) => Observable<unknown>): NestInterceptor => ({
  intercept: (_context, next) => pipe(next.handle()),
});

/** Interceptors of users: the answer if the handler returns, and if it throws 401. */
const INTERCEPTORS: Record<string, [interceptor: NestInterceptor, returned: number, thrown: number]> = {
  none: [through((values) => values), 200, 401],
  'take(1)': [through((values) => values.pipe(take(1))), 200, 401],
  'first()': [through((values) => values.pipe(first())), 200, 401],
  firstValueFrom: [through((values) => from(firstValueFrom(values))), 200, 401],
  lastValueFrom: [through((values) => from(lastValueFrom(values))), 200, 401],
  'retry(1)': [through((values) => values.pipe(retry(1))), 200, 401],
  'catchError with a value': [through((values) => values.pipe(catchError(() => of('instead')))), 200, 200],
  'catchError with an error': [
    through((values) => values.pipe(catchError(() => throwError(() => new RequestTimeoutException())))),
    200,
    408,
  ],
  'timeout that is not reached': [through((values) => values.pipe(timeout(60_000))), 200, 401],
};

/** A controller whose routes are `<interceptor index>/<settle mode>/<returns or throws>`. */
function controllers(): Type[] {
  return Object.values(INTERCEPTORS).map(([interceptor], i) => {
    @UseInterceptors(interceptor)
    @Controller(String(i))
    class Routes {
      @RateLimit({ ...FIVE, settle: 'failures' })
      @Get('failures/returns')
      returnsOfFailures() {
        return 'done';
      }

      @RateLimit({ ...FIVE, settle: 'failures' })
      @Get('failures/throws')
      throwsOfFailures() {
        throw new UnauthorizedException();
      }

      @RateLimit({ ...FIVE, settle: 'successes' })
      @Get('successes/returns')
      returnsOfSuccesses() {
        return 'done';
      }

      @RateLimit({ ...FIVE, settle: 'successes' })
      @Get('successes/throws')
      throwsOfSuccesses() {
        throw new UnauthorizedException();
      }
    }
    return Routes;
  });
}

@Controller('slow')
class Slow {
  @RateLimit({ ...FIVE, settle: (_context, outcome) => outcomes.push(outcome) && 1 })
  @Get('returns')
  async returns() {
    runs++;
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    return 'done';
  }

  @RateLimit({ ...FIVE, settle: 'failures' })
  @Get('login')
  async login() {
    runs++;
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    throw new UnauthorizedException();
  }

  /** Fails at first, and succeeds when it is retried. */
  @UseInterceptors(through((values) => values.pipe(retry(1))))
  @RateLimit({ ...FIVE, settle: (_context, outcome) => outcomes.push(outcome) && 1 })
  @Get('retried')
  retried() {
    if (runs++ === 0) throw new UnauthorizedException();
    return 'done';
  }

  @UseInterceptors(
    through((values) =>
      values.pipe(
        timeout(5),
        catchError(() => throwError(() => new RequestTimeoutException())),
      ),
    ),
  )
  @RateLimit({ ...FIVE, settle: 'successes' })
  @Get('timed-out')
  async timedOut() {
    await new Promise<void>((resolve) => {
      release = resolve;
    });
  }
}

interface Sent {
  /** The status of the response; 0 if there is none. */
  readonly status: Promise<number>;
  disconnect(): void;
}

const portOf = (app: INestApplication) => (app.getHttpServer().address() as AddressInfo).port;

function sendHttp1(app: INestApplication, path: string): Sent {
  const outgoing = requestHttp1({ port: portOf(app), host: '127.0.0.1', path, agent: false });
  const status = new Promise<number>((resolve) => {
    outgoing.on('response', (response) => response.resume().on('end', () => resolve(response.statusCode ?? 0)));
    outgoing.on('error', () => resolve(0));
  });
  outgoing.end();
  return { status, disconnect: () => outgoing.destroy() };
}

/** `reset`: the client resets the stream, and not the whole session. */
function sendHttp2(app: INestApplication, path: string, reset = false): Sent {
  const session = connectHttp2(`http://127.0.0.1:${portOf(app)}`).on('error', () => {});
  const stream = session.request({ ':path': path });
  const status = new Promise<number>((resolve) => {
    let code = 0;
    stream.on('response', (headers) => {
      code = Number(headers[':status']);
    });
    stream.on('error', () => {});
    stream.resume().on('close', () => {
      session.close();
      resolve(code);
    });
  });
  stream.end();
  return { status, disconnect: () => (reset ? stream.close(constants.NGHTTP2_CANCEL) : session.destroy()) };
}

/** Calls the framework as adapters for serverless functions do: the response has no connection, and never closes. */
function invoke(app: INestApplication, path: string): Sent {
  const incoming = new IncomingMessage(new Socket());
  Object.assign(incoming, { method: 'GET', url: path, httpVersion: '1.1', headers: { host: 'x' } });
  incoming.push(null);
  const response = new ServerResponse(incoming);
  response.assignSocket(new Writable({ write: (_chunk, _encoding, done) => done() }) as Socket);
  const status = once(response, 'finish').then(() => response.statusCode);
  const instance = app.getHttpAdapter().getInstance();
  (instance.routing ?? instance)(incoming, response);
  return { status, disconnect: () => {} };
}

const SERVERS: Record<
  string,
  [http2: boolean, adapter: 'express' | 'fastify', send: (app: INestApplication, path: string) => Sent]
> = {
  'HTTP/1 on express': [false, 'express', sendHttp1],
  'HTTP/1 on fastify': [false, 'fastify', sendHttp1],
  'HTTP/2 on fastify, whose clients close sessions': [true, 'fastify', sendHttp2],
  'HTTP/2 on fastify, whose clients reset streams': [true, 'fastify', (app, path) => sendHttp2(app, path, true)],
  'a serverless adapter of express': [false, 'express', invoke],
  'a serverless adapter of fastify': [false, 'fastify', invoke],
};

class Forbid implements CanActivate {
  canActivate(): boolean {
    throw new ForbiddenException();
  }
}

@Resolver()
class Fields {
  @UseGuards(Forbid)
  @RateLimit({ ...FIVE, settle: 'successes' })
  @Query(() => String, { nullable: true })
  forbidden() {
    return 'done';
  }

  @RateLimit({ ...FIVE, settle: 'successes' })
  @Query(() => String, { nullable: true })
  allowed() {
    return 'done';
  }
}

describe.each(GRAPHQL_SERVERS)('The end of a GraphQL field on %s', (server) => {
  it('is that of the response if a later guard rejects it', async () => {
    const store = new MemoryStore({ clock: new FakeClock() });
    // Without it, the context of Apollo on Fastify does not lead to the response.
    const context = (req: unknown, reply: unknown) => ({ req, reply });
    const options = server === 'Apollo on Fastify' ? { context } : {};
    const imports = [RateLimitModule.forRoot({ store }), graphqlModule(server, options)];
    const app = await createApp(adapterOf(server), { imports, providers: [Fields] });
    await app.listen(0, '127.0.0.1');
    await query(app, '{ allowed, one: forbidden, two: forbidden }');
    const bucket = app.get(BucketService).bucket({ name: 'five', capacity: 5, refill: 0 }, 'all');
    await until(async () => (await bucket.available()) === 4);
    await app.close();
  });
});

describe.each(Object.entries(SERVERS))('The end of a request: %s', (name, [http2, adapter, send]) => {
  let app: INestApplication;
  let store: MemoryStore;
  beforeAll(async () => {
    store = new MemoryStore({ clock: new FakeClock() });
    const metadata = { imports: [RateLimitModule.forRoot({ store })], controllers: [...controllers(), Slow] };
    if (http2) {
      const module = await Test.createTestingModule(metadata).compile();
      app = module.createNestApplication(new FastifyAdapter({ http2: true } as never), { logger: false });
    } else {
      app = await createApp(adapter, metadata);
    }
    await app.listen(0, '127.0.0.1');
  });
  afterAll(() => app.close());
  beforeEach(async () => {
    runs = 0;
    outcomes.length = 0;
    await left().reset();
  });
  const left = () => app.get(BucketService).bucket({ name: 'five', capacity: 5, refill: 0 }, 'all');
  /** The tokens left, once they are `expected`, or after a while. */
  const tokens = async (expected: number) => {
    await until(async () => (await left().available()) === expected).catch(() => {});
    return left().available();
  };

  it.each(Object.keys(INTERCEPTORS))('is its response, behind an interceptor: %s', async (interceptor) => {
    const index = Object.keys(INTERCEPTORS).indexOf(interceptor);
    const [, returned, thrown] = INTERCEPTORS[interceptor];
    for (const mode of ['failures', 'successes'] as const) {
      for (const [what, expected] of [
        ['returns', returned],
        ['throws', thrown],
      ] as const) {
        await left().reset();
        expect([mode, what, await send(app, `/${index}/${mode}/${what}`).status]).toEqual([mode, what, expected]);
        const charged = mode === 'failures' ? expected >= 400 : expected < 400;
        expect([mode, what, await tokens(charged ? 4 : 5)]).toEqual([mode, what, charged ? 4 : 5]);
      }
    }
  });

  it('has the outcome of the last attempt if an interceptor retries', async () => {
    expect(await send(app, '/slow/retried').status).toBe(200);
    await until(() => outcomes.length > 0);
    expect(outcomes).toEqual([{ value: 'done', status: 200, durationMs: 0 }]);
  });

  it('is the timeout of an interceptor, though the handler still runs', async () => {
    expect(await send(app, '/slow/timed-out').status).toBe(408);
    expect(await tokens(5)).toBe(5);
    release();
  });

  if (name.startsWith('a serverless')) return;

  it('is the end of the handler if the client disconnects before it', async () => {
    const sent = send(app, '/slow/returns');
    await until(() => runs === 1);
    sent.disconnect();
    await sent.status;
    expect(outcomes).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 20)); // the server hears of it
    release();
    await until(() => outcomes.length > 0);
    expect(outcomes).toEqual([{ value: 'done', error: expect.any(ClientGoneError), status: 499, durationMs: 0 }]);
  });

  it('charges each failed log-in of clients that disconnect', async () => {
    for (let i = 0; i < 8; i++) {
      const before = runs;
      let answered = false;
      const sent = send(app, '/slow/login');
      sent.status.then(() => {
        answered = true;
      });
      await until(() => answered || runs > before);
      sent.disconnect();
      await sent.status;
      if (runs === before) continue;
      await new Promise((resolve) => setTimeout(resolve, 20)); // the server hears of it
      release();
    }
    expect(runs).toBe(5);
    expect(await tokens(0)).toBe(0);
  });
});
