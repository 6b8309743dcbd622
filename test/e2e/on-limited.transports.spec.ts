import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type ArgumentsHost, Catch, Controller, type INestApplication, UseFilters } from '@nestjs/common';
import { Field, ObjectType, Query, ResolveField, Resolver, Subscription } from '@nestjs/graphql';
import {
  type ClientOptions,
  type ClientProxy,
  ClientProxyFactory,
  EventPattern,
  MessagePattern,
  Payload,
  Transport,
} from '@nestjs/microservices';
import { BaseWsExceptionFilter, SubscribeMessage, WebSocketGateway, WsException } from '@nestjs/websockets';
import { BucketService, MemoryStore, RateLimit, RateLimitModule } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { lastValueFrom } from 'rxjs';
import { createApp } from '../support/create-app.js';
import { adapterOf, graphqlModule, query, SERVERS, subscribe, subscriber } from '../support/graphql.js';
import { freePort } from '../support/redis.js';
import { until } from '../support/requests.js';
import { connect, SOCKETS, type SocketClient, useSockets } from '../support/websocket.js';

const ONE = { maxRequest: 1, unit: 'minute', key: 'all' } as const;
const MANUAL = { maxRequest: 1, unit: 'minute' } as const;
const rejection = { status: 'error', message: 'Too Many Requests', retryAfter: 60_000 };
const runs: string[] = [];
const closing: (() => unknown)[] = [];
let app: INestApplication;
beforeEach(() => {
  runs.length = 0;
});
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  await app.close();
});

const limits = () => RateLimitModule.forRoot({ store: new MemoryStore({ clock: new FakeClock() }) });

async function* number(n: number) {
  yield { numbers: n };
}

@ObjectType()
class Thing {
  @Field()
  name!: string;
}

@Resolver(() => Thing)
class Things {
  constructor(private readonly buckets: BucketService) {}

  @RateLimit({ ...ONE, onLimited: async () => 'cached' })
  @Query(() => String)
  text() {
    runs.push('text');
    return 'fresh';
  }

  @RateLimit({ ...ONE, onLimited: () => undefined })
  @Query(() => String, { nullable: true })
  nothing() {
    return 'fresh';
  }

  @RateLimit({ ...ONE, onLimited: () => number(2) })
  @Subscription(() => Number)
  numbers() {
    return number(1);
  }

  @Query(() => Thing)
  thing() {
    return {};
  }

  @RateLimit({ ...ONE, onLimited: () => 'cached' })
  @ResolveField()
  name() {
    runs.push('name');
    return 'fresh';
  }

  @Query(() => String, { nullable: true })
  async own() {
    await this.buckets.bucket(MANUAL, 'all').consume(2, { maxWait: 0 });
  }
}

describe.each(SERVERS)('onLimited with GraphQL on %s', (server) => {
  const start = async (options = {}) => {
    app = await createApp(adapterOf(server), {
      imports: [limits(), graphqlModule(server, options)],
      providers: [Things],
    });
    await app.listen(0, '127.0.0.1');
  };

  it('responds with the value of the hook, and does not run the resolver', async () => {
    await start();
    const { body, headers } = await query(app, '{ a: text b: text c: nothing d: nothing }');
    expect(body.data).toEqual({ a: 'fresh', b: 'cached', c: 'fresh', d: null });
    expect(body.errors).toMatchObject([{ path: ['d'], extensions: { code: 'TOO_MANY_REQUESTS' } }]);
    expect(runs).toEqual(['text']);
    if (server !== 'Apollo on Fastify') expect(headers.ratelimit).toContain('"Things.text";r=0;t=60');
  });

  it('sends the values of the hook to a subscription', async () => {
    await start();
    const client = subscriber(app);
    closing.push(() => client.dispose());
    expect(await subscribe(client, 'subscription { numbers }')).toEqual([{ data: { numbers: 1 } }]);
    expect(await subscribe(client, 'subscription { numbers }')).toEqual([{ data: { numbers: 2 } }]);
  });

  it.each([[['guards']], [['guards', 'interceptors']]])(
    'rejects a guarded object field despite its hook, with fieldResolverEnhancers: %j',
    async (fieldResolverEnhancers) => {
      await start({ fieldResolverEnhancers });
      const { body } = await query(app, '{ a: thing { name } b: thing { name } }');
      expect(body.errors).toMatchObject([{ extensions: { code: 'TOO_MANY_REQUESTS' } }]);
      expect(runs).toEqual(['name']);
    },
  );

  it('reports a rejection thrown by a resolver like one thrown by the guard', async () => {
    await start();
    const { body } = await query(app, '{ own }');
    const extensions = { code: 'TOO_MANY_REQUESTS' };
    expect(body.errors).toMatchObject([{ message: 'Too Many Requests', path: ['own'], extensions }]);
  });
});

@Catch()
class CustomFilter extends BaseWsExceptionFilter {
  override catch(_error: unknown, host: ArgumentsHost) {
    super.catch(new WsException('mine'), host);
  }
}

@WebSocketGateway()
class Gateway {
  constructor(private readonly buckets: BucketService) {}

  @RateLimit({ ...ONE, onLimited: () => ({ event: 'text', data: 'cached' }) })
  @SubscribeMessage('text')
  text() {
    runs.push('text');
    return { event: 'text', data: 'fresh' };
  }

  @RateLimit({ ...ONE, onLimited: async () => undefined })
  @SubscribeMessage('nothing')
  nothing() {
    return { event: 'nothing', data: 'fresh' };
  }

  @SubscribeMessage('own')
  async own() {
    const bucket = this.buckets.bucket(MANUAL, 'all');
    await bucket.consume();
    await bucket.consume(1, { maxWait: 0 });
  }
}

@UseFilters(CustomFilter)
@WebSocketGateway()
class FilteredGateway {
  constructor(private readonly buckets: BucketService) {}

  @SubscribeMessage('filtered')
  async filtered() {
    await this.buckets.bucket(MANUAL, 'all').consume(2);
  }
}

describe.each(SOCKETS)('onLimited with a WebSocket gateway on %s', (name) => {
  let client: SocketClient;
  beforeEach(async () => {
    const metadata = { imports: [limits()], providers: [Gateway, FilteredGateway] };
    app = await createApp('express', metadata, (created) => useSockets(created, name));
    await app.listen(0, '127.0.0.1');
    client = await connect(app, name);
    closing.push(() => client.close());
  });
  const reply = async (event: string) => {
    client.send(event);
    await until(() => client.received.length > 0);
    return client.received.splice(0);
  };

  it('sends the value of the hook, and does not run the handler', async () => {
    expect(await reply('text')).toEqual([['text', 'fresh']]);
    expect(await reply('text')).toEqual([['text', 'cached']]);
    expect(runs).toEqual(['text']);
  });

  it('rejects the message if the hook returns undefined', async () => {
    expect(await reply('nothing')).toEqual([['nothing', 'fresh']]);
    expect(await reply('nothing')).toEqual([['exception', rejection]]);
  });

  it('reports a rejection thrown by a handler like one thrown by the guard', async () => {
    expect(await reply('own')).toEqual([['exception', rejection]]);
  });

  it("passes a rejection to the gateway's own filter", async () => {
    expect(await reply('filtered')).toMatchObject([['exception', { message: 'mine' }]]);
  });
});

@Controller()
class Service {
  constructor(private readonly buckets: BucketService) {}

  @RateLimit({ ...ONE, onLimited: async () => 'cached' })
  @MessagePattern('text')
  text() {
    runs.push('text');
    return 'fresh';
  }

  @RateLimit({ ...ONE, onLimited: () => undefined })
  @MessagePattern('nothing')
  nothing() {
    return 'fresh';
  }

  @RateLimit({ ...ONE, onLimited: () => 'cached' })
  @EventPattern('event')
  event(@Payload() data: string) {
    runs.push(data);
  }

  @MessagePattern('own')
  async own() {
    const bucket = this.buckets.bucket(MANUAL, 'all');
    await bucket.consume();
    await bucket.consume(1, { maxWait: 0 });
  }
}

describe('onLimited with a microservice', () => {
  let client: ClientProxy;
  beforeEach(async () => {
    const options = { transport: Transport.TCP, options: { host: '127.0.0.1', port: await freePort() } } as const;
    app = await createApp('express', { imports: [limits()], controllers: [Service] }, (created) => {
      created.connectMicroservice(options, { inheritAppConfig: true });
    });
    await app.startAllMicroservices();
    client = ClientProxyFactory.create(options as ClientOptions);
    closing.push(() => client.close());
  });
  const send = (pattern: string) => lastValueFrom(client.send<unknown>(pattern, {}));

  it('responds with the value of the hook, and does not run the handler', async () => {
    expect(await send('text')).toBe('fresh');
    expect(await send('text')).toBe('cached');
    expect(runs).toEqual(['text']);
  });

  it('rejects the message if the hook returns undefined', async () => {
    expect(await send('nothing')).toBe('fresh');
    await expect(send('nothing')).rejects.toEqual(rejection);
  });

  it('does not run the handler of a rejected event', async () => {
    for (const pattern of ['event', 'event']) client.emit(pattern, 'event');
    // The messages of a connection are handled in order.
    await send('text');
    expect(runs).toEqual(['event', 'text']);
  });

  it('reports a rejection thrown by a handler like one thrown by the guard', async () => {
    await expect(send('own')).rejects.toEqual(rejection);
  });
});
