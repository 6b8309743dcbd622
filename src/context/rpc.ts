import type { ExecutionContext } from '@nestjs/common';
import { type ContextReader, nonEmptyString } from './context-reader.js';

/** The socket of a message over TCP; the other message transports have none. */
function tcpSocketOf(context: ExecutionContext): { readonly remoteAddress?: unknown } | undefined {
  const shared = context.switchToRpc().getContext<{ getSocketRef?: unknown } | null | undefined>();
  if (typeof shared?.getSocketRef !== 'function') return undefined;
  return (shared.getSocketRef() as { socket?: { remoteAddress?: unknown } } | undefined)?.socket;
}

/** Reads contexts of microservice handlers. Only TCP has an address: that of the calling service. */
export const rpc: ContextReader = {
  hasHttpRequest: false,
  endsWithResponse: false,
  address: (context) => nonEmptyString(tcpSocketOf(context)?.remoteAddress),
  request: (context) => context.getArgByIndex(0),
  response: () => undefined,
  socket: tcpSocketOf,
  networkSocket: tcpSocketOf,
  identity: (context) => context.getArgs(),
};
