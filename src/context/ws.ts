import type { ExecutionContext } from '@nestjs/common';
import { type ContextReader, nonEmptyString, socketOfRequest } from './context-reader.js';

/** A client of socket.io or `ws`. */
interface Client {
  /** socket.io */
  readonly handshake?: { readonly address?: unknown; readonly headers?: unknown };
  readonly data?: { readonly user?: unknown };
  readonly conn?: { readonly request?: unknown };
  /** The request that opened the connection: middleware of the engine, such as sessions, stores the user there. */
  readonly request?: { readonly user?: unknown };
  /** `ws`, which has no public way to it */
  readonly _socket?: { readonly remoteAddress?: unknown } | null;
  readonly user?: unknown;
}

function clientOf(context: ExecutionContext): Client | null | undefined {
  return context.getArgByIndex<Client | null | undefined>(0);
}

/** Gateways. */
export const ws: ContextReader = {
  hasHttpRequest: false,
  endsWithResponse: false,

  address(context) {
    const client = clientOf(context);
    return nonEmptyString(client?.handshake?.address) ?? nonEmptyString(client?._socket?.remoteAddress);
  },

  request(context) {
    const client = clientOf(context);
    return { headers: client?.handshake?.headers, user: client?.user ?? client?.data?.user };
  },

  user: (context) => clientOf(context)?.request?.user,
  response: () => undefined,
  socket: clientOf,

  networkSocket(context) {
    const client = clientOf(context);
    return client?._socket ?? socketOfRequest(client?.conn?.request);
  },

  identity: (context) => context.getArgs(),
};
