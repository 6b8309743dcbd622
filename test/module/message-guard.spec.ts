import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, type ModuleMetadata, UseGuards } from '@nestjs/common';
import { ClientProxyFactory, MessagePattern, type TcpClientOptions, Transport } from '@nestjs/microservices';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { RateLimit, RateLimitModule, type RateLimitModuleOptions, SkipRateLimit } from 'nest-rate-limit';
import { lastValueFrom } from 'rxjs';
import { createApp } from '../support/create-app.js';
import { freePort } from '../support/redis.js';
import { statuses, until } from '../support/requests.js';
import { connect, useSockets } from '../support/websocket.js';

const ONE = { maxRequest: 1, unit: 'hour' } as const;
/** The order in which the guards ran. */
const order: string[] = [];

@Controller()
class Orders {
  @RateLimit({
    ...ONE,
    key: () => {
      order.push('limit');
      return 'all';
    },
  })
  @UseGuards({ canActivate: () => order.push('own guard') > 0 })
  @MessagePattern('limited')
  limited() {
    return 'Hello';
  }

  @MessagePattern('free')
  @SkipRateLimit()
  free() {
    return 'Hello';
  }

  @MessagePattern('default')
  default() {
    return 'Hello';
  }

  @RateLimit(ONE)
  @Get('http')
  http() {}
}

const open: INestApplication[] = [];
afterEach(async () => {
  order.length = 0;
  await Promise.all(open.splice(0).map((app) => app.close()));
});

async function start(metadata: ModuleMetadata, prepare?: (app: INestApplication) => void): Promise<INestApplication> {
  const app = await createApp('express', metadata, prepare);
  open.push(app);
  return app;
}

describe('Message handlers of a microservice without the configuration of the application', () => {
  const connected = async (options?: RateLimitModuleOptions, inheritAppConfig = false) => {
    const tcp: TcpClientOptions = { transport: Transport.TCP, options: { host: '127.0.0.1', port: await freePort() } };
    const app = await start({ imports: [RateLimitModule.forRoot(options)], controllers: [Orders] }, (created) => {
      created.connectMicroservice(tcp, { inheritAppConfig });
    });
    await app.startAllMicroservices();
    const client = ClientProxyFactory.create(tcp);
    const send = (pattern: string) => lastValueFrom(client.send(pattern, {})).catch(({ message }: Error) => message);
    return async (...patterns: string[]) => {
      const replies: unknown[] = [];
      for (const pattern of patterns) replies.push(await send(pattern));
      await client.close();
      return replies;
    };
  };

  it('are limited, after their own guards', async () => {
    const send = await connected();
    expect(await send('limited', 'limited', 'free', 'free')).toEqual(['Hello', 'Too Many Requests', 'Hello', 'Hello']);
    expect(order).toEqual(['own guard', 'limit', 'own guard', 'limit']);
  });

  it('are limited by the default of the module', async () => {
    const send = await connected({ default: ONE });
    expect(await send('default', 'default', 'free', 'free')).toEqual(['Hello', 'Too Many Requests', 'Hello', 'Hello']);
  });

  it('are counted once if the microservice inherits the configuration', async () => {
    const send = await connected({ default: { ...ONE, maxRequest: 2 } }, true);
    expect(await send('default', 'default', 'default')).toEqual(['Hello', 'Hello', 'Too Many Requests']);
  });

  it('are not limited with `guard: false`', async () => {
    const send = await connected({ guard: false });
    expect(await send('default', 'default')).toEqual(['Hello', 'Hello']);
  });
});

@WebSocketGateway()
class Chat {
  @RateLimit(ONE)
  @SubscribeMessage('say')
  say(@MessageBody() data: unknown) {
    return { event: 'said', data };
  }
}

describe('Gateways of several applications in one process', () => {
  const say = async (app: INestApplication) => {
    const client = await connect(app, 'ws');
    for (const text of ['a', 'b']) client.send('say', text);
    await until(() => client.received.length >= 2);
    client.close();
    return client.received.map(([event]) => event).sort();
  };
  const chat = async (imports: ModuleMetadata['imports']) => {
    const app = await start({ imports, providers: [Chat] }, (created) => useSockets(created, 'ws'));
    await app.listen(0, '127.0.0.1');
    return app;
  };

  it('are limited by the guard of their own application, also if the module is not global', async () => {
    const first = await chat([RateLimitModule.forRoot()]);
    const second = await chat([RateLimitModule.forRoot({ isGlobal: false })]);
    expect(await say(first)).toEqual(['exception', 'said']);
    expect(await say(second)).toEqual(['exception', 'said']);
  });

  it('are not limited in an application without the module', async () => {
    await chat([RateLimitModule.forRoot()]);
    expect(await say(await chat([]))).toEqual(['said', 'said']);
  });
});

it('keeps the guard away from handlers of HTTP requests, which the global guard limits', async () => {
  const app = await start({ imports: [RateLimitModule.forRoot()], controllers: [Orders] });
  expect(Reflect.getMetadata('__guards__', Orders.prototype.http)).toBeUndefined();
  expect(await statuses(app, '/http', '/http')).toEqual([200, 429]);
});
