import { messageTransport } from './message.js';
import { textOf } from './transport.js';

interface Client {
  /** socket.io */
  readonly handshake?: { readonly address?: unknown };
  /** `ws`, which has no public way to it */
  readonly _socket?: { readonly remoteAddress?: unknown } | null;
}

/** Gateways with `ws` and socket.io: the client gets an `exception` event. */
export const ws = messageTransport(
  (context) => {
    const client = context.switchToWs().getClient<Client | null | undefined>();
    return textOf(client?.handshake?.address) ?? textOf(client?._socket?.remoteAddress);
  },
  async () => (await import('@nestjs/websockets')).WsException,
);
