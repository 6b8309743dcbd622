import { once } from 'node:events';
import { connect as connectHttp2, constants } from 'node:http2';
import { type AddressInfo, connect as connectTcp, type Socket } from 'node:net';
import type { INestApplication, ModuleMetadata } from '@nestjs/common';
import { Transport } from '@nestjs/microservices';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import { type AdapterName, createApp } from './create-app.js';
import { adapterOf, graphqlModule, SERVERS } from './graphql.js';
import { freePort } from './redis.js';
import { useSockets } from './websocket.js';

/*
 * Servers of all transports, and clients that disconnect from them in all ways. The application is the caller's.
 */

/** A client with one connection. */
export interface Client {
  /** Its network socket. */
  readonly socket: Socket;
  /** Everything that it has received, as text. */
  received(): string;
  /** Calls the handler with this name. */
  call(name: string): void;
  close(): void;
  /** HTTP/2: resets the streams of all calls, and keeps the session. */
  resetStreams?(): void;
}

/** How clients disconnect. */
export const WAYS = {
  'with RST': ({ socket }: Client) => void socket.resetAndDestroy(),
  'with FIN': ({ socket }: Client) => void socket.end(),
  'by resetting streams': (client: Client) => client.resetStreams?.(),
} as const;
export type Way = keyof typeof WAYS;

/** What a server's clients still have open. */
interface Connections {
  /** All connections so far. */
  accepted: number;
  sockets: number;
  streams: number;
}

/** A server, and a way to connect to it. */
export interface Served {
  readonly app: INestApplication;
  readonly connections: Connections;
  connect(): Promise<Client>;
}

interface Emitter {
  on(event: string, listener: (emitter: Emitter) => void): unknown;
}

/** Counts the open connections of a server, and the open streams of one for HTTP/2. */
function count(server: Emitter): Connections {
  const open: Connections = { accepted: 0, sockets: 0, streams: 0 };
  const track = (event: string, what: 'sockets' | 'streams') =>
    server.on(event, (one) => {
      open[what]++;
      one.on('close', () => open[what]--);
    });
  track('connection', 'sockets');
  track('stream', 'streams');
  server.on('connection', () => open.accepted++);
  return open;
}

const portOf = (app: INestApplication) => (app.getHttpServer().address() as AddressInfo).port;

async function dial(port: number): Promise<Socket> {
  const socket = connectTcp(port, '127.0.0.1').on('error', () => {});
  await once(socket, 'connect');
  return socket.resume();
}

/** A client that writes messages to its socket. */
async function writer(port: number, message: (name: string) => string): Promise<Client> {
  const socket = await dial(port);
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  return {
    socket,
    close: () => socket.destroy(),
    received: () => text,
    call: (name) => void socket.write(message(name)),
  };
}

async function http2Client(port: number): Promise<Client> {
  const socket = await dial(port);
  const session = connectHttp2(`http://127.0.0.1:${port}`, { createConnection: () => socket }).on('error', () => {});
  await once(session, 'remoteSettings');
  const streams: ReturnType<typeof session.request>[] = [];
  let text = '';
  return {
    socket,
    close: () => socket.destroy(),
    received: () => text,
    call(name) {
      const stream = session.request({ ':path': `/${name}` }).on('error', () => {});
      stream.on('data', (chunk) => {
        text += chunk;
      });
      streams.push(stream);
    },
    resetStreams() {
      for (const stream of streams) stream.close(constants.NGHTTP2_CANCEL);
    },
  };
}

/** Connects with `ws`, sends the text and waits for a reply to it, if there is one, and sends messages. */
async function wsClient(url: string, message: (name: string) => object, hello?: object): Promise<Client> {
  const client = new WebSocket(url, hello ? 'graphql-transport-ws' : undefined).on('error', () => {});
  await once(client, 'open');
  if (hello) {
    client.send(JSON.stringify(hello));
    await once(client, 'message');
  }
  const { _socket: socket } = client as unknown as { _socket: Socket };
  let text = '';
  client.on('message', (data) => {
    text += data;
  });
  return {
    socket,
    close: () => socket.destroy(),
    received: () => text,
    call: (name) => client.send(JSON.stringify(message(name))),
  };
}

async function socketIoClient(port: number): Promise<Client> {
  const options = { transports: ['websocket'], forceNew: true, reconnection: false };
  const client = io(`http://127.0.0.1:${port}`, options);
  await new Promise<void>((resolve, reject) => client.on('connect', resolve).on('connect_error', reject));
  const { transport } = client.io.engine as unknown as { transport: { ws: { _socket: Socket } } };
  let text = '';
  client.onAny((...event) => {
    text += JSON.stringify(event);
  });
  const { _socket: socket } = transport.ws;
  return { socket, close: () => void client.close(), received: () => text, call: (name) => void client.emit(name, 1) };
}

type Serve = (metadata: ModuleMetadata) => Promise<Served>;

function served(adapter: AdapterName, connect: (port: number) => Promise<Client>, sockets?: 'ws' | 'socket.io'): Serve {
  return async (metadata) => {
    const app = await createApp(adapter, metadata, (one) => sockets && useSockets(one, sockets));
    const connections = count(app.getHttpServer());
    await app.listen(0, '127.0.0.1');
    return { app, connections, connect: () => connect(portOf(app)) };
  };
}

const get = (name: string) => `GET /${name} HTTP/1.1\r\nHost: x\r\n\r\n`;

function post(name: string): string {
  const body = JSON.stringify({ query: `mutation { ${name} }` });
  return `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

function packet(name: string): string {
  const json = JSON.stringify({ pattern: name, data: 1, id: '1' });
  return `${json.length}#${json}`;
}

let subscriptions = 0;
const subscribe = (name: string) => ({
  type: 'subscribe',
  id: String(subscriptions++),
  payload: { query: `subscription { ${name}Events }` },
});

async function serveHttp2(metadata: ModuleMetadata): Promise<Served> {
  const module = await Test.createTestingModule(metadata).compile();
  const app = module.createNestApplication(new FastifyAdapter({ http2: true } as never), { logger: false });
  const connections = count(app.getHttpServer());
  await app.listen(0, '127.0.0.1');
  return { app, connections, connect: () => http2Client(portOf(app)) };
}

async function serveTcp(metadata: ModuleMetadata): Promise<Served> {
  const app = await createApp('express', metadata);
  const port = await freePort();
  const options = { transport: Transport.TCP, options: { host: '127.0.0.1', port } } as const;
  const server = app.connectMicroservice(options, { inheritAppConfig: true });
  await app.startAllMicroservices();
  return { app, connections: count(server.unwrap<Emitter>()), connect: () => writer(port, packet) };
}

const graphql: [string, Serve][] = SERVERS.flatMap((server) => {
  const serve =
    (connect: (port: number) => Promise<Client>): Serve =>
    (metadata) =>
      served(
        adapterOf(server),
        connect,
      )({
        ...metadata,
        imports: [...(metadata.imports ?? []), graphqlModule(server, { stopOnApplicationShutdown: true })],
      });
  const subscriber = (port: number) =>
    wsClient(`ws://127.0.0.1:${port}/graphql`, subscribe, { type: 'connection_init' });
  return [
    [`GraphQL with ${server}`, serve((port) => writer(port, post))],
    [`subscriptions with ${server}`, serve(subscriber)],
  ] satisfies [string, Serve][];
});

/** Starts an application with handlers for all transports. Subscriptions are named `<name>Events`. */
export const TRANSPORTS: Readonly<Record<string, Serve>> = {
  'HTTP/1 on express': served('express', (port) => writer(port, get)),
  'HTTP/1 on fastify': served('fastify', (port) => writer(port, get)),
  'HTTP/2 on fastify': serveHttp2,
  ...Object.fromEntries(graphql),
  'a gateway on ws': served(
    'express',
    (port) => wsClient(`ws://127.0.0.1:${port}`, (event) => ({ event, data: 1 })),
    'ws',
  ),
  'a gateway on socket.io': served('express', socketIoClient, 'socket.io'),
  'a microservice over TCP': serveTcp,
};
