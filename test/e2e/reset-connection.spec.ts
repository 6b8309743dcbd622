import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, type INestApplication, Logger, Post } from '@nestjs/common';
import { Mutation, Query, Resolver } from '@nestjs/graphql';
import { MessagePattern, Transport } from '@nestjs/microservices';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { byIp, RateLimit, RateLimitModule, type RateLimitOptions } from 'nest-rate-limit';
import { type AdapterName, createApp } from '../support/create-app.js';
import { adapterOf, graphqlModule, SERVERS } from '../support/graphql.js';
import { freePort } from '../support/redis.js';
import { useSockets } from '../support/websocket.js';

const TWO: RateLimitOptions = { maxRequest: 2, unit: 'hours' };
const CONNECTIONS = 5;
const MESSAGES = 20;
let runs = 0;

/** What a client sends on one connection before it resets it; `handshake` is answered first. */
interface Client {
  readonly port: number;
  readonly handshake?: string;
  readonly messages: Buffer | string;
}

function controllerOf(key: RateLimitOptions['key']) {
  @Controller()
  class Messages {
    @RateLimit({ ...TWO, key })
    @Post('send')
    send() {
      return ++runs;
    }

    @RateLimit({ ...TWO, key })
    @MessagePattern('send')
    receive() {
      return ++runs;
    }
  }
  return Messages;
}

function gatewayOf(key: RateLimitOptions['key']) {
  @WebSocketGateway()
  class Gateway {
    @RateLimit({ ...TWO, key })
    @SubscribeMessage('send')
    send() {
      runs++;
    }
  }
  return Gateway;
}

function resolverOf(key: RateLimitOptions['key']) {
  @Resolver()
  class Messages {
    @Query(() => Boolean)
    ok() {
      return true;
    }

    @RateLimit({ ...TWO, key })
    @Mutation(() => Number)
    send() {
      return ++runs;
    }
  }
  return Messages;
}

function post(path: string, body: string): string {
  const headers = `Host: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
  return `POST ${path} HTTP/1.1\r\n${headers}\r\n\r\n${body}`;
}

/** A masked text frame, as clients send it. */
function frame(text: string): Buffer {
  const mask = randomBytes(4);
  const payload = Buffer.from(text).map((byte, i) => byte ^ mask[i & 3]);
  return Buffer.concat([Buffer.from([0x81, 0x80 | payload.length]), mask, payload]);
}

const repeat = (message: string) => message.repeat(MESSAGES);
const portOf = (app: INestApplication) => (app.getHttpServer().address() as AddressInfo).port;

const TRANSPORTS: Record<string, (key: RateLimitOptions['key']) => Promise<[INestApplication, Client]>> = {
  ...Object.fromEntries(
    (['express', 'fastify'] as AdapterName[]).map((adapter) => [
      `HTTP on ${adapter}`,
      async (key) => {
        const app = await createApp(adapter, {
          imports: [RateLimitModule.forRoot()],
          controllers: [controllerOf(key)],
        });
        await app.listen(0, '127.0.0.1');
        return [app, { port: portOf(app), messages: repeat(post('/send', '')) }];
      },
    ]),
  ),
  ...Object.fromEntries(
    SERVERS.map((server) => [
      `GraphQL with ${server}`,
      async (key) => {
        const imports = [RateLimitModule.forRoot(), graphqlModule(server)];
        const app = await createApp(adapterOf(server), { imports, providers: [resolverOf(key)] });
        await app.listen(0, '127.0.0.1');
        const body = JSON.stringify({ query: 'mutation { send }' });
        return [app, { port: portOf(app), messages: repeat(post('/graphql', body)) }];
      },
    ]),
  ),
  'a gateway on ws': async (key) => {
    const app = await createApp(
      'express',
      { imports: [RateLimitModule.forRoot()], providers: [gatewayOf(key)] },
      (one) => useSockets(one, 'ws'),
    );
    await app.listen(0, '127.0.0.1');
    const upgrade = `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13`;
    const secret = `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`;
    const messages = Array.from({ length: MESSAGES }, () => frame('{"event":"send","data":1}'));
    const handshake = `GET / HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n${secret}\r\n\r\n`;
    return [app, { port: portOf(app), handshake, messages: Buffer.concat(messages) }];
  },
  'a microservice over TCP': async (key) => {
    const app = await createApp('express', { imports: [RateLimitModule.forRoot()], controllers: [controllerOf(key)] });
    const port = await freePort();
    app.connectMicroservice(
      { transport: Transport.TCP, options: { host: '127.0.0.1', port } },
      { inheritAppConfig: true },
    );
    await app.startAllMicroservices();
    const message = JSON.stringify({ pattern: 'send', data: 1, id: '1' });
    return [app, { port, messages: repeat(`${message.length}#${message}`) }];
  },
};

async function resetConnection({ port, handshake, messages }: Client): Promise<void> {
  const socket: Socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  if (handshake) {
    socket.write(handshake);
    await once(socket, 'data');
    await sleep(10);
  }
  socket.write(messages);
  socket.resetAndDestroy();
}

describe.each(Object.keys(TRANSPORTS))('Clients that reset their connections: %s', (name) => {
  let app: INestApplication;
  afterEach(async () => {
    await app.close();
    jest.restoreAllMocks();
  });

  it.each([
    ['the default key', undefined],
    ['byIp()', byIp()],
  ])('are limited by %s, and log no error', async (_, key) => {
    runs = 0;
    const errors = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => {});
    const warnings = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    let client: Client;
    [app, client] = await TRANSPORTS[name](key);
    for (let i = 0; i < CONNECTIONS; i++) {
      await resetConnection(client);
      await sleep(30); // what the client sent is read and handled
    }
    expect(runs).toBeLessThanOrEqual(2);
    // Nest's TCP server logs each connection that it loses.
    const ofConnections = /message from tcp server/;
    expect(errors.mock.calls.filter(([error]) => !ofConnections.test(String(error)))).toEqual([]);
    expect(warnings.mock.calls).toEqual([]);
  });
});
