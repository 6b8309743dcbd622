import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { type CanActivate, type ExecutionContext, type INestApplication, Logger, UseGuards } from '@nestjs/common';
import { Args, Query, Resolver, Subscription } from '@nestjs/graphql';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { createClient } from 'graphql-ws';
import { byIp, byUser, MemoryStore, RateLimit, RateLimitModule } from 'nest-rate-limit';
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import { createApp } from '../support/create-app.js';
import { adapterOf, graphqlModule, query, SERVERS, subscribe } from '../support/graphql.js';
import { until } from '../support/requests.js';
import { useSockets } from '../support/websocket.js';

/*
 * Where authentication keeps the user outside of HTTP requests.
 */

const TWO = { maxRequest: 2, unit: 'minute' } as const;
const warnings: string[] = [];
let app: INestApplication;
beforeEach(() => {
  warnings.length = 0;
  jest.spyOn(Logger.prototype, 'warn').mockImplementation((message) => void warnings.push(message as string));
});
afterEach(async () => {
  jest.restoreAllMocks();
  await app.close();
});
const limits = () => RateLimitModule.forRoot({ store: new MemoryStore() });
const port = () => (app.getHttpServer().address() as AddressInfo).port;

interface SessionRequest {
  readonly headers: { readonly who?: string };
  user?: { id: string };
}

/** Sessions are read by the engine of socket.io, and apply to all messages of a connection. */
@WebSocketGateway()
class Chat {
  afterInit(server: { engine: { use(middleware: unknown): void } }) {
    server.engine.use((request: SessionRequest, _response: unknown, next: () => void) => {
      request.user = { id: String(request.headers.who) };
      next();
    });
  }

  @RateLimit({ ...TWO, key: byUser() })
  @SubscribeMessage('say')
  say() {
    return { event: 'said', data: 'done' };
  }
}

it('byUser finds the user of a session that the engine of socket.io has read', async () => {
  app = await createApp('express', { imports: [limits()], providers: [Chat] }, (created) =>
    useSockets(created, 'socket.io'),
  );
  await app.listen(0, '127.0.0.1');
  const received: unknown[] = [];
  const sockets = ['ada', 'ada', 'bob'].map((who) =>
    io(`http://127.0.0.1:${port()}`, { transports: ['websocket'], forceNew: true, extraHeaders: { who } }),
  );
  for (const [i, socket] of sockets.entries()) {
    socket.onAny((event) => received.push([i, event]));
    for (let sent = 0; sent < (i === 1 ? 1 : 2); sent++) socket.emit('say', {});
    const expected = [2, 3, 5][i];
    await until(() => received.length === expected);
  }
  expect(received).toEqual([
    [0, 'said'],
    [0, 'said'],
    [1, 'exception'],
    [2, 'said'],
    [2, 'said'],
  ]);
  for (const socket of sockets) socket.close();
});

class LateAuth implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const [, , shared] =
      context.getArgs<[unknown, unknown, { req?: SessionRequest; reply?: { request: SessionRequest } }]>();
    const request = shared.reply?.request ?? shared.req;
    if (request) request.user = { id: 'ada' };
    return true;
  }
}

@Resolver()
class Notes {
  @RateLimit({ ...TWO, key: byUser(), name: 'limited' })
  @Query(() => String, { nullable: true })
  limited() {
    return 'done';
  }

  @Query(() => String, { nullable: true })
  free() {
    return 'done';
  }

  @RateLimit({ ...TWO, key: byUser(), name: 'counts' })
  @Subscription(() => Number, { resolve: (value) => value })
  async *counts(@Args('count') count: number) {
    for (let i = 0; i < count; i++) yield i;
  }
}

describe.each(SERVERS)('byUser on %s', (server) => {
  const start = async (resolver: new () => object, options: object = {}) => {
    app = await createApp(adapterOf(server), {
      imports: [limits(), graphqlModule(server, options)],
      providers: [resolver],
    });
    await app.listen(0, '127.0.0.1');
  };
  const errorsOf = async (text: string) => ((await query(app, text)).body.errors ?? []).length;

  it('finds the user of a context', async () => {
    let who = 'ada';
    await start(Notes, { context: () => ({ user: { id: who } }) });
    const errors = [await errorsOf('{ limited }'), await errorsOf('{ limited }'), await errorsOf('{ limited }')];
    who = 'bob';
    expect([...errors, await errorsOf('{ limited }')]).toEqual([0, 0, 1, 0]);
    expect(warnings).toEqual([]);
  });

  it('suggests a fix if a guard of the resolver sets the user too late', async () => {
    @UseGuards(LateAuth)
    @Resolver()
    class Late {
      @RateLimit({ ...TWO, key: byUser() })
      @Query(() => String, { nullable: true })
      required() {
        return 'done';
      }

      @RateLimit({ ...TWO, key: byUser('id', byIp()) })
      @Query(() => String, { nullable: true })
      optional() {
        return 'done';
      }
    }
    // Without it, the context of Apollo on Fastify does not lead to the response.
    const context = (req: unknown, reply: unknown) => ({ req, reply });
    await start(Late, server === 'Apollo on Fastify' ? { context } : {});
    expect(await errorsOf('{ required }')).toBe(1);
    expect(warnings).toEqual([
      expect.stringMatching(/^Late\.required: byUser\(\) found no user\. .*import the module/),
    ]);
    warnings.length = 0;
    expect(await errorsOf('{ optional }')).toBe(0);
    await until(() => warnings.length > 0);
    expect(warnings).toEqual([
      expect.stringMatching(/^Late\.optional: byUser\(\) found no user, but there was one at/),
    ]);
  });

  if (server === 'Mercurius') return;

  it('finds the user that `onConnect` keeps in the extra of graphql-ws', async () => {
    const onConnect = (context: { extra: { user?: object }; connectionParams: { who: string } }) => {
      context.extra.user = { id: context.connectionParams.who };
    };
    await start(Notes, { subscriptions: { 'graphql-ws': { onConnect } } });
    const subscribeAs = async (who: string) => {
      const url = `ws://127.0.0.1:${port()}/graphql`;
      const client = createClient({ url, webSocketImpl: WebSocket, retryAttempts: 0, connectionParams: { who } });
      const results = await subscribe(client, 'subscription { counts(count: 1) }');
      await client.dispose();
      return results.some(({ errors }) => errors) ? 'rejected' : 'done';
    };
    const ada = [await subscribeAs('ada'), await subscribeAs('ada'), await subscribeAs('ada')];
    expect([...ada, await subscribeAs('bob')]).toEqual(['done', 'done', 'rejected', 'done']);
  });
});
