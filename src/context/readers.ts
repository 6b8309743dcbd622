import type { ArgumentsHost, ExecutionContext } from '@nestjs/common';
import type { ContextReader } from './context-reader.js';
import { graphql } from './graphql.js';
import { grpc, grpcCallOf } from './grpc.js';
import { http } from './http.js';
import { rpc } from './rpc.js';
import { ws } from './ws.js';

/** Contexts of types that are unknown here: queues, bots and jobs of other libraries. */
const other: ContextReader = {
  hasHttpRequest: false,
  endsWithResponse: false,
  address: () => undefined,
  request: (context) => context.getArgByIndex(0),
  response: () => undefined,
  socket: () => undefined,
  networkSocket: () => undefined,
  identity: (context) => context.getArgs(),
};

/** The reader of each kind of context. `transport/transports.ts` has the transport of each. */
const READERS = { http, graphql, ws, rpc, grpc, method: other, other } satisfies Record<string, ContextReader>;

/** What a context is. Each kind has a reader and a transport. */
export type ContextKind = keyof typeof READERS;

/**
 * The kind of a context: the only place that interprets `getType()`. Nest reports `'rpc'` for all microservices; those
 * that have a kind of their own are recognized by their arguments.
 */
export function kindOf(context: ArgumentsHost): ContextKind {
  const type = typeOf(context);
  // A constant, which V8 looks up faster, and a short function, which it inlines: almost all contexts are HTTP.
  return type === 'http' ? 'http' : otherKindOf(type, context);
}

function otherKindOf(type: string, context: ArgumentsHost): ContextKind {
  if (type === 'rpc') return grpcCallOf(context) ? 'grpc' : 'rpc';
  return type === 'graphql' || type === 'ws' || type === 'method' ? type : 'other';
}

/** What Nest calls a context, also of types that are unknown here. */
export function typeOf(context: ArgumentsHost): string {
  return context.getType<string>();
}

/** The reader of a context. */
export function readerOf(context: ExecutionContext): ContextReader {
  return READERS[kindOf(context)];
}
