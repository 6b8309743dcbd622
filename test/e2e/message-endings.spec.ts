import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  type CanActivate,
  Controller,
  type INestApplication,
  type NestInterceptor,
  RequestTimeoutException,
  type Type,
  UnauthorizedException,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { Query, Resolver } from '@nestjs/graphql';
import { ClientProxyFactory, MessagePattern, RpcException, Transport } from '@nestjs/microservices';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { BucketService, ClientGoneError, MemoryStore, type Outcome, RateLimit, RateLimitModule } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import {
  catchError,
  delayWhen,
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
import { graphqlModule, query } from '../support/graphql.js';
import { freePort } from '../support/redis.js';
import { until } from '../support/requests.js';
import { connect, type SocketClient, useSockets } from '../support/websocket.js';

const BUCKET = { name: 'five', capacity: 5, refill: 0 } as const;
const outcomes: Outcome[] = [];
let runs = 0;
let release: () => void = () => {};
const released = () =>
  new Promise<void>((resolve) => {
    release = resolve;
  });

const through = (pipe: (values: Observable<unknown>) => Observable<unknown>): NestInterceptor => ({
  intercept: (_context, next) => pipe(next.handle()),
});
const failed = { error: expect.any(UnauthorizedException) };
const done = { value: 'done' };

/** The outcomes behind an interceptor that changes neither value nor error. */
const UNCHANGED: [object, object, object] = [
  { ...done, status: 200 },
  { ...failed, status: 401 },
  { ...failed, status: 401 },
];

/** Interceptors of users, and the outcome if the handler returns, throws, and throws once. */
const INTERCEPTORS: Record<string, [NestInterceptor, returns: object, throws: object, throwsOnce: object]> = {
  none: [through((values) => values), { ...done, status: 200 }, { ...failed, status: 401 }, { ...failed, status: 401 }],
  'take(1)': [through((values) => values.pipe(take(1))), ...UNCHANGED],
  'first()': [through((values) => values.pipe(first())), ...UNCHANGED],
  firstValueFrom: [through((values) => from(firstValueFrom(values))), ...UNCHANGED],
  lastValueFrom: [through((values) => from(lastValueFrom(values))), ...UNCHANGED],
  'retry(1)': [
    through((values) => values.pipe(retry(1))),
    { ...done, status: 200 },
    { ...failed, status: 401 },
    { ...done, status: 200 },
  ],
  'retry with a delay': [
    through((values) => values.pipe(retry({ count: 1, delay: 5 }))),
    { ...done, status: 200 },
    { ...failed, status: 401 },
    { ...done, status: 200 },
  ],
  'catchError with a value': [
    through((values) => values.pipe(catchError(() => of('instead')))),
    { ...done, status: 200 },
    { ...failed, status: 200 },
    { ...failed, status: 200 },
  ],
  'catchError with an error': [
    through((values) => values.pipe(catchError(() => throwError(() => new RequestTimeoutException())))),
    { ...done, status: 200 },
    { ...failed, status: 408 },
    { ...failed, status: 408 },
  ],
  'timeout that is not reached': [through((values) => values.pipe(timeout(60_000))), ...UNCHANGED],
  'a delayed answer': [
    through((values) => values.pipe(delayWhen(() => from(new Promise(setImmediate))))),
    ...UNCHANGED,
  ],
  'a cached answer': [through(() => of('cached')), { status: 200 }, { status: 200 }, { status: 200 }],
  'an error of its own': [
    through(() => throwError(() => new RequestTimeoutException())),
    { status: 408 },
    { status: 408 },
    { status: 408 },
  ],
  'timeout that is reached': [
    through((values) =>
      values.pipe(
        delayWhen(() => from(new Promise(() => {}))),
        timeout(5),
        catchError(() => throwError(() => new RequestTimeoutException())),
      ),
    ),
    { ...done, status: 408 },
    { ...failed, status: 408 },
    { ...failed, status: 408 },
  ],
};

class Forbid implements CanActivate {
  async canActivate(): Promise<boolean> {
    throw new RpcException('no');
  }
}

type Bind = (name: string) => MethodDecorator;

/** A class whose handlers are bound by `bind`: for each interceptor, and behind a later guard. */
function classes(bindClass: () => ClassDecorator, bind: Bind): Type[] {
  const settled = RateLimit({ ...BUCKET, key: 'all', settle: (_context, outcome) => outcomes.push(outcome) && 0 });

  @bindClass()
  class Single {
    @UseGuards(Forbid)
    @settled
    @bind('forbidden')
    forbidden() {
      return 'done';
    }

    @settled
    @bind('slow')
    async slow() {
      runs++;
      await released();
      return 'done';
    }
  }
  const all = Object.values(INTERCEPTORS).map(([interceptor], i) => {
    @UseInterceptors(interceptor)
    @bindClass()
    class Intercepted {
      @settled
      @bind(`returns${i}`)
      returns() {
        return 'done';
      }

      @settled
      @bind(`throws${i}`)
      throws() {
        throw new UnauthorizedException();
      }

      @settled
      @bind(`throwsOnce${i}`)
      throwsOnce() {
        if (runs++ === 0) throw new UnauthorizedException();
        return 'done';
      }
    }
    return Intercepted;
  });
  return [Single, ...all];
}

interface Rig {
  readonly app: INestApplication;
  /** Resolves when there is an answer, if the transport has one. */
  send(name: string): Promise<unknown>;
  /** Disconnects the client. */
  disconnect?(): void;
  /** Whether the server stops listening to the handler of a client that disconnects. */
  readonly abandonsHandlers?: boolean;
}

async function overTcp(store: MemoryStore): Promise<Rig> {
  const controllers = classes(
    () => Controller(),
    (name) => MessagePattern(name),
  );
  const options = { host: '127.0.0.1', port: await freePort() };
  const app = await createApp('express', { imports: [RateLimitModule.forRoot({ store })], controllers });
  app.connectMicroservice({ transport: Transport.TCP, options }, { inheritAppConfig: true });
  await app.startAllMicroservices();
  const client = ClientProxyFactory.create({ transport: Transport.TCP, options });
  const { close } = app;
  app.close = () => {
    client.close();
    return close.call(app);
  };
  return {
    app,
    send: (name) => lastValueFrom(client.send(name, {})).catch(() => {}),
    disconnect: () => client.close(),
  };
}

async function overSockets(name: 'ws' | 'socket.io', store: MemoryStore): Promise<Rig> {
  const providers = classes(
    () => WebSocketGateway(),
    (event) => SubscribeMessage(event),
  );
  const imports = [RateLimitModule.forRoot({ store })];
  const app = await createApp('express', { imports, providers }, (created) => useSockets(created, name));
  await app.listen(0, '127.0.0.1');
  const client: SocketClient = await connect(app, name);
  const { close } = app;
  app.close = () => {
    client.close();
    return close.call(app);
  };
  return {
    app,
    send: async (event) => client.send(event, {}),
    disconnect: () => client.close(),
    abandonsHandlers: true,
  };
}

async function overGraphql(store: MemoryStore): Promise<Rig> {
  const providers = classes(
    () => Resolver(),
    (name) => Query(() => String, { name, nullable: true }),
  );
  const module = graphqlModule('Apollo on Express');
  const app = await createApp('express', { imports: [RateLimitModule.forRoot({ store }), module], providers });
  await app.listen(0, '127.0.0.1');
  return { app, send: (name) => query(app, `{ ${name} }`) };
}

/** Transports whose messages have no response of their own. */
const MESSAGES: Record<string, (store: MemoryStore) => Promise<Rig>> = {
  TCP: overTcp,
  ws: (store) => overSockets('ws', store),
  'socket.io': (store) => overSockets('socket.io', store),
};
const TRANSPORTS = { ...MESSAGES, GraphQL: overGraphql };

describe.each(Object.entries(TRANSPORTS))('The end of a message over %s', (name, start) => {
  let rig: Rig;
  let clock: FakeClock;
  beforeEach(async () => {
    outcomes.length = 0;
    runs = 0;
    clock = new FakeClock();
    rig = await start(new MemoryStore({ clock }));
  });
  afterEach(() => rig.app.close());
  const ended = async () => {
    await until(() => outcomes.length > 0);
    return outcomes.splice(0);
  };

  it.each(Object.keys(INTERCEPTORS))('is its answer, behind an interceptor: %s', async (interceptor) => {
    const index = Object.keys(INTERCEPTORS).indexOf(interceptor);
    const [, returns, throws, throwsOnce] = INTERCEPTORS[interceptor];
    await rig.send(`returns${index}`);
    expect(await ended()).toEqual([{ ...returns, durationMs: 0 }]);
    await rig.send(`throws${index}`);
    expect(await ended()).toEqual([{ ...throws, durationMs: 0 }]);
    await rig.send(`throwsOnce${index}`);
    expect(await ended()).toEqual([{ ...throwsOnce, durationMs: 0 }]);
    expect(clock.sleeping).toBe(0);
  });

  if (!(name in MESSAGES)) return;

  it('is recognized ten seconds after a later guard has rejected it', async () => {
    await rig.send('forbidden');
    await until(() => clock.sleeping > 0);
    await clock.advance(9_999);
    expect(outcomes).toEqual([]);
    await clock.advance(1);
    expect(await ended()).toEqual([
      { status: 500, error: new Error('The handler was not called'), durationMs: 10_000 },
    ]);
    await until(async () => (await rig.app.get(BucketService).bucket(BUCKET, 'all').available()) === 5);
  });

  it('is the end of the connection if a later guard has rejected it and the application closes', async () => {
    await rig.send('forbidden');
    await until(() => clock.sleeping > 0);
    await rig.app.close();
    expect(outcomes).toMatchObject([{ status: 499 }]);
  });

  it('is a disconnect if the client disconnects while the handler runs', async () => {
    rig.send('slow');
    await until(() => runs === 1);
    rig.disconnect?.();
    await new Promise((resolve) => setTimeout(resolve, 20)); // the server hears of it
    release();
    const value = rig.abandonsHandlers ? {} : done;
    expect(await ended()).toEqual([{ ...value, error: expect.any(ClientGoneError), status: 499, durationMs: 0 }]);
  });
});
