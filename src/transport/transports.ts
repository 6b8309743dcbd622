import type { ExecutionContext } from '@nestjs/common';
import { RateLimitUnavailableException } from '../exceptions/rate-limit.exception.js';
import { graphql } from './graphql.js';
import { http } from './http.js';
import { rpc } from './rpc.js';
import type { Transport } from './transport.js';
import { ws } from './ws.js';

/** Where requests come from that are unknown here: a library's queues, bots, jobs. */
const other: Transport = {
  address: () => undefined,
  refusal: http.refusal,
  unavailable: (_context, cause) => new RateLimitUnavailableException(cause),
};

/** The transport of a request, by what Nest calls its context. */
export function transportOf(context: ExecutionContext): Transport {
  switch (context.getType<string>()) {
    case 'http':
      return http;
    case 'graphql':
      return graphql;
    case 'ws':
      return ws;
    case 'rpc':
      return rpc;
    default:
      return other;
  }
}
