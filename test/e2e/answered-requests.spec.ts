import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import {
  type ArgumentsHost,
  type CanActivate,
  Catch,
  Controller,
  type ExceptionFilter,
  Get,
  type INestApplication,
  Logger,
  Res,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, HttpAdapterHost } from '@nestjs/core';
import { Query, Resolver } from '@nestjs/graphql';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import {
  BucketService,
  MemoryStore,
  RateLimit,
  RateLimitModule,
  type RateLimitModuleOptions,
  RateLimitStoreError,
  type StoreRequest,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { StoreWrapper } from '../../src/stores/remote/store-wrapper.js';
import { ADAPTERS, createApp } from '../support/create-app.js';
import { adapterOf, graphqlModule, query } from '../support/graphql.js';
import { until } from '../support/requests.js';

const BUCKET = { name: 'five', capacity: 5, refill: 0 } as const;
const FIVE = { ...BUCKET, key: 'all' } as const;
const QUEUE = { name: 'queue', capacity: 1, refill: 1, maxWait: '5s', key: 'all' } as const;

/** Delays whatever awaits it until the test opens it. */
class Gate {
  isClosed = false;
  private opened: (() => void)[] = [];

  get waiting(): number {
    return this.opened.length;
  }

  async pass(): Promise<void> {
    if (this.isClosed) await new Promise<void>((resolve) => this.opened.push(resolve));
  }

  async open(): Promise<void> {
    this.isClosed = false;
    for (const resolve of this.opened.splice(0)) resolve();
    for (let turn = 0; turn < 5; turn++) await nextTurn();
  }
}

let gate: Gate;
let ran: string[] = [];
let filtered: unknown[] = [];
let responses: ServerResponse[] = [];
const logged: unknown[] = [];

class SlowStore extends StoreWrapper {
  fails = false;

  override async run(call: StoreRequest) {
    // Releases and settlements are not delayed.
    if (call.verb === 'take') await gate.pass();
    if (this.fails) throw new RateLimitStoreError('simulated failure');
    return this.store.run(call);
  }
}

/** The catch-all filter of Nest's documentation, which replies without a look at the response. */
@Catch()
class ReplyAlways implements ExceptionFilter {
  constructor(private readonly host: HttpAdapterHost) {}

  catch(exception: unknown, host: ArgumentsHost) {
    filtered.push(exception);
    this.host.httpAdapter.reply(host.switchToHttp().getResponse(), { own: true }, 500);
  }
}

class SlowAuth implements CanActivate {
  async canActivate(): Promise<boolean> {
    await gate.pass();
    return true;
  }
}

@Controller()
class Resource {
  @RateLimit(FIVE)
  @Get('plain')
  plain() {
    return ran.push('plain');
  }

  @RateLimit({ ...FIVE, settle: 'successes' })
  @Get('successes')
  successes() {
    return ran.push('successes');
  }

  @RateLimit({ ...FIVE, settle: 'failures' })
  @Get('failures')
  failures() {
    return ran.push('failures');
  }

  @RateLimit({ ...FIVE, onStoreError: 'closed' })
  @Get('closed')
  closed() {
    return ran.push('closed');
  }

  @RateLimit(QUEUE)
  @Get('queue')
  queue() {
    return ran.push('queue');
  }

  @RateLimit({
    ...FIVE,
    onLimited: async () => {
      await gate.pass();
      return 'cached';
    },
  })
  @Get('replaced')
  replaced() {
    return ran.push('replaced');
  }

  @RateLimit({
    ...FIVE,
    key: async () => {
      await gate.pass();
      return 'all';
    },
  })
  @Get('keyed')
  keyed() {
    return ran.push('keyed');
  }

  @RateLimit(FIVE)
  @Get('written')
  written(@Res() response: { raw?: ServerResponse }) {
    ran.push('written');
    (response.raw ?? (response as ServerResponse)).end('body');
  }
}

/** Sends 503 in place of everything else, as a timeout middleware does. */
function answer(): void {
  const response = responses.at(-1) as ServerResponse;
  response.statusCode = 503;
  response.end('too slow');
}

describe.each(ADAPTERS)('A request on %s that other code has answered', (adapter) => {
  let app: INestApplication;
  let clock: FakeClock;
  let memory: MemoryStore;
  let store: SlowStore;
  beforeEach(() => {
    gate = new Gate();
    ran = [];
    filtered = [];
    responses = [];
    logged.length = 0;
    const log = (message: unknown) => void logged.push(message);
    jest.spyOn(Logger.prototype, 'error').mockImplementation(log);
    jest.spyOn(console, 'error').mockImplementation(log);
    clock = new FakeClock();
    memory = new MemoryStore({ clock });
    store = new SlowStore(memory);
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    await app.close();
  });
  const start = async (options: RateLimitModuleOptions = {}, guards: CanActivate[] = [], onRequest = () => {}) => {
    app = await createApp(
      adapter,
      {
        imports: [RateLimitModule.forRoot({ store, ...options })],
        controllers: [Resource],
        providers: [
          { provide: APP_FILTER, useClass: ReplyAlways },
          ...guards.map((useValue) => ({ provide: APP_GUARD, useValue })),
        ],
      },
      (created) =>
        created.use((_request: unknown, response: ServerResponse, next: () => void) => {
          responses.push(response);
          onRequest();
          next();
        }),
    );
  };
  const get = (path: string) => request(app.getHttpServer()).get(`/${path}`);
  const left = () => app.get(BucketService).bucket(BUCKET, 'all').available();
  const empty = () => app.get(BucketService).bucket(BUCKET, 'all').consumeUpTo(5);
  /** Answers a request while it waits at the gate, and lets it proceed then. */
  const answerAtGate = async (path: string) => {
    gate.isClosed = true;
    const sent = get(path).then(({ status, text }) => [status, text]);
    await until(() => gate.waiting === 1);
    answer();
    expect(await sent).toEqual([503, 'too slow']);
    await gate.open();
  };
  const expectSilence = () => {
    expect({ ran, filtered, logged }).toEqual({ ran: [], filtered: [], logged: [] });
  };

  it.each([
    ['plain', 4],
    ['successes', 5],
    ['failures', 4],
    ['keyed', 4],
  ])('does not run its handler once the store admits it, and settles its cost: /%s', async (path, expected) => {
    await start();
    await answerAtGate(path);
    expectSilence();
    expect(await left()).toBe(expected);
  });

  it.each(['plain', 'replaced'])('is not rejected by the store: /%s', async (path) => {
    await start();
    await empty();
    await answerAtGate(path);
    expectSilence();
  });

  it('is not rejected because the store is unavailable', async () => {
    await start();
    store.fails = true;
    await answerAtGate('closed');
    expectSilence();
  });

  it('is not replaced by a slow `onLimited`', async () => {
    await start({ store: memory });
    await empty();
    await answerAtGate('replaced');
    expectSilence();
  });

  it('is not limited after a slow guard, or a slow `skip`', async () => {
    await start({ store: memory }, [new SlowAuth()]);
    await answerAtGate('plain');
    expectSilence();
    await app.close();
    const skip = async () => {
      await gate.pass();
      return false;
    };
    await start({ store: memory, skip });
    await answerAtGate('plain');
    expectSilence();
  });

  it('releases the place that the store reserves too late', async () => {
    await start();
    await get('queue');
    ran.length = 0;
    await answerAtGate('queue');
    expectSilence();
    // Otherwise the next one would wait for two seconds.
    const next = get('queue').then(({ status }) => status);
    await until(() => clock.sleeping > 0);
    await clock.advance(1000);
    expect(await next).toBe(200);
  });

  it('releases its place in the queue', async () => {
    await start();
    await get('queue');
    ran.length = 0;
    const sent = get('queue').then(({ status }) => status);
    await until(() => clock.sleeping > 0);
    answer();
    expect(await sent).toBe(503);
    await until(() => clock.sleeping === 0);
    expectSilence();
    const next = get('queue').then(({ status }) => status);
    await until(() => clock.sleeping > 0);
    await clock.advance(1000);
    expect(await next).toBe(200);
  });

  it('proceeds without rate limit headers if only its headers have been sent', async () => {
    await start({}, [], () => responses.at(-1)?.flushHeaders());
    const admitted = await get('written');
    expect([admitted.status, admitted.text, admitted.headers.ratelimit]).toEqual([200, 'body', undefined]);
    expect(logged).toEqual([]);
  });
});

it('A request over HTTP/2 that other code has answered does not run its handler', async () => {
  gate = new Gate();
  ran = [];
  const store = new SlowStore(new MemoryStore());
  const module = await Test.createTestingModule({
    imports: [RateLimitModule.forRoot({ store })],
    controllers: [Resource],
  }).compile();
  const app = module.createNestApplication(new FastifyAdapter({ http2: true } as never), { logger: false });
  app.use((_request: unknown, response: ServerResponse, next: () => void) => {
    responses.push(response);
    next();
  });
  await app.listen(0, '127.0.0.1');
  gate.isClosed = true;
  const session = connectHttp2(`http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}`);
  const stream = session.request({ ':path': '/plain' });
  await until(() => gate.waiting === 1);
  answer();
  const [headers] = await once(stream, 'response');
  expect([headers[':status'], await text(stream)]).toEqual([503, 'too slow']);
  await gate.open();
  expect(ran).toEqual([]);
  session.close();
  await app.close();
});

describe.each(ADAPTERS)('A rejection on %s', (adapter) => {
  it('ends a response whose headers have been sent', async () => {
    const app = await createApp(
      adapter,
      { imports: [RateLimitModule.forRoot({ store: new MemoryStore() })], controllers: [Resource] },
      (created) =>
        created.use((_request: unknown, response: ServerResponse, next: () => void) => {
          response.flushHeaders();
          next();
        }),
    );
    await app.get(BucketService).bucket(BUCKET, 'all').consumeUpTo(5);
    expect((await request(app.getHttpServer()).get('/written')).text).toBe('');
    await app.close();
  });
});

@Resolver()
class Fields {
  @RateLimit(FIVE)
  @Query(() => String, { nullable: true })
  field() {
    ran.push('field');
    return 'done';
  }
}

it('A GraphQL field does not run once other code has answered the request', async () => {
  gate = new Gate();
  ran = [];
  const store = new SlowStore(new MemoryStore());
  const app = await createApp(
    adapterOf('Apollo on Express'),
    { imports: [RateLimitModule.forRoot({ store }), graphqlModule('Apollo on Express')], providers: [Fields] },
    (created) =>
      created.use((_request: unknown, response: ServerResponse, next: () => void) => {
        responses.push(response);
        next();
      }),
  );
  await app.listen(0, '127.0.0.1');
  gate.isClosed = true;
  const sent = query(app, '{ field }').catch(() => {});
  await until(() => gate.waiting === 1);
  answer();
  await sent;
  await gate.open();
  expect(ran).toEqual([]);
  await app.close();
});
