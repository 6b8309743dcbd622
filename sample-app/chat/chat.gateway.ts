import { randomUUID } from 'node:crypto';
import type { ExecutionContext } from '@nestjs/common';
import {
  ConnectedSocket,
  MessageBody,
  SubscribeMessage,
  WebSocketGateway,
  WebSocketServer,
  WsException,
} from '@nestjs/websockets';
import { RateLimit } from 'nest-rate-limit';
import { type WebSocketServer as Server, WebSocket } from 'ws';

/**
 * Each connection can send a burst of 5 messages, refilled at one per second. A rejection is an `exception` message.
 */
@WebSocketGateway({ path: '/chat', maxPayload: 1000 })
export class ChatGateway {
  @WebSocketServer()
  private readonly server!: Server;

  @RateLimit({ capacity: 5, refill: 1, key: connectionOf, message: 'Too many messages' })
  @SubscribeMessage('say')
  say(@MessageBody() text: unknown, @ConnectedSocket() speaker: WebSocket): object {
    if (typeof text !== 'string' || text === '') throw new WsException('The message must be a non-empty string');
    for (const other of this.server.clients) {
      if (other !== speaker && other.readyState === WebSocket.OPEN) send(other, 'heard', text);
    }
    return { event: 'said', data: text };
  }
}

function send(client: WebSocket, event: string, data: string): void {
  client.send(JSON.stringify({ event, data }));
}

const names = new WeakMap<object, string>();

/**
 * Returns a name for the connection that is unique across processes. Each connection has its own bucket; the number of
 * connections per client is for the proxy to limit.
 */
function connectionOf(context: ExecutionContext): string {
  const client = context.switchToWs().getClient<object>();
  const name = names.get(client) ?? randomUUID();
  names.set(client, name);
  return name;
}
