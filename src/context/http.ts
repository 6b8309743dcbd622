import type { ExecutionContext } from '@nestjs/common';
import { addressOfRequest, type ContextReader, socketOfRequest } from './context-reader.js';

/*
 * Request and response of an HTTP context. They are its first two arguments; `switchToHttp` would create an object and
 * three functions each time to return them.
 */

export function requestOf<T>(context: ExecutionContext): T {
  return context.getArgByIndex<T | undefined>(0) ?? context.switchToHttp().getRequest<T>();
}

export function responseOf<T>(context: ExecutionContext): T {
  return context.getArgByIndex<T | undefined>(1) ?? context.switchToHttp().getResponse<T>();
}

/** Express and Fastify. */
export const http: ContextReader = {
  hasHttpRequest: true,
  endsWithResponse: true,
  address: (context) => addressOfRequest(requestOf(context)),
  request: requestOf,
  response: responseOf,
  socket: () => undefined,
  networkSocket: (context) => socketOfRequest(requestOf(context)),
  identity: requestOf<object>,
};
