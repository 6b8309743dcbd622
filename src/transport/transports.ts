import type { ArgumentsHost } from '@nestjs/common';
import { type ContextKind, kindOf } from '../context/readers.js';
import { RateLimitUnavailableException } from '../exceptions/rate-limit.exception.js';
import { graphql } from './graphql.js';
import { grpc } from './grpc.js';
import { http } from './http.js';
import { rpc } from './rpc.js';
import type { Transport } from './transport.js';
import { ws } from './ws.js';

/** Contexts of types that are unknown here: what the guard throws is for the caller to interpret. */
const other: Transport = {
  runsInterceptors: () => false,
  rejection: http.rejection,
  unavailable: (_context, cause) => new RateLimitUnavailableException(cause),
};

/** Calls of methods, whose results `onLimited` may replace. */
const method: Transport = { ...other, runsInterceptors: () => true };

/** The transport of each kind of context. `context/readers.ts` has the reader of each. */
const TRANSPORTS: Readonly<Record<ContextKind, Transport>> = { http, graphql, ws, rpc, grpc, method, other };

/** The transport of a context. */
export function transportOf(context: ArgumentsHost): Transport {
  return TRANSPORTS[kindOf(context)];
}
