import { once } from 'node:events';
import { Agent } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { INestApplication } from '@nestjs/common';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { WsAdapter } from '@nestjs/platform-ws';
import { io } from 'socket.io-client';
import WebSocket from 'ws';

/** The WebSocket libraries that Nest's gateways support. */
export const SOCKETS = ['ws', 'socket.io'] as const;
type SocketName = (typeof SOCKETS)[number];

export function useSockets(app: INestApplication, name: SocketName): void {
  app.useWebSocketAdapter(name === 'ws' ? new WsAdapter(app) : new IoAdapter(app));
}

/** An event that the server sent to a client. */
type ReceivedEvent = readonly [event: string, data: unknown];

/** A client of a gateway. */
export interface SocketClient {
  send(event: string, ...data: unknown[]): void;
  /** Sends the text as one frame, without encoding it. Not available with socket.io. */
  sendRaw?(text: string): void;
  /** Sends an event, and resolves with its acknowledgement. Not available with `ws`. */
  request?(event: string, ...data: unknown[]): Promise<unknown>;
  readonly received: ReceivedEvent[];
  close(): void;
}

/** Connects to the gateway from the given local address. */
export async function connect(
  app: INestApplication,
  name: SocketName,
  localAddress = '127.0.0.1',
  path = '',
): Promise<SocketClient> {
  const { port } = app.getHttpServer().address() as AddressInfo;
  const received: ReceivedEvent[] = [];
  if (name === 'ws') {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { localAddress });
    socket.on('message', (message) => {
      const { event, data } = JSON.parse(String(message));
      received.push([event, data]);
    });
    await once(socket, 'open');
    const send = (event: string, ...[data]: unknown[]) => socket.send(JSON.stringify({ event, data }));
    return { send, sendRaw: (text) => socket.send(text), received, close: () => socket.terminate() };
  }
  const agent = new Agent({ localAddress });
  const socket = io(`http://127.0.0.1:${port}`, {
    transports: ['websocket'],
    forceNew: true,
    reconnection: false,
    agent: agent as never,
  });
  socket.onAny((event, data) => received.push([event, data]));
  await new Promise<void>((resolve, reject) => socket.on('connect', resolve).on('connect_error', reject));
  return {
    send: (event, ...data) => void socket.emit(event, ...data),
    request: (event, ...data) => socket.emitWithAck(event, ...data),
    received,
    close: () => void socket.disconnect(),
  };
}
