import type { ExecutionContext } from '@nestjs/common';

/**
 * Reads one kind of Nest context. A new transport needs one of these, and a `Transport` in `transport/` that writes its
 * answers.
 */
export interface ContextReader {
  /** Whether `request` is an HTTP request, with headers and the application it belongs to. */
  readonly hasHttpRequest: boolean;
  /** Whether the end of the response is the end of the request, and its status the result. */
  readonly endsWithResponse: boolean;
  /** The client's address as the framework reports it; `undefined` if there is none. */
  address(context: ExecutionContext): string | undefined;
  /** What carries `headers` and `user`: the request, the handshake of a socket, the data of a message. */
  request(context: ExecutionContext): unknown;
  /** The user, where authentication may keep it outside of `request`. */
  user?(context: ExecutionContext): unknown;
  /** The response that the client waits for; `undefined` if there is none. */
  response(context: ExecutionContext): unknown;
  /** The socket of a client that sends messages, which outlives each of them. */
  socket(context: ExecutionContext): unknown;
  /** The network socket of the client, whose address identifies it; `undefined` if there is none. */
  networkSocket(context: ExecutionContext): unknown;
  /** An object that guard and interceptor of one call have in common. */
  identity(context: ExecutionContext): object;
}

/** The network socket of a request of Express, of Fastify, whose own request is `raw`, or of Node. */
export function socketOfRequest(request: unknown): unknown {
  const found = request as { socket?: unknown; raw?: { socket?: unknown } } | null | undefined;
  return found?.raw?.socket ?? found?.socket;
}

/** An address as a framework reports it. */
export function nonEmptyString(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** The address of a request's client: `request.ip`, so the framework decides which proxies are trusted. */
export function addressOfRequest(request: unknown): string | undefined {
  const found = request as { ip?: unknown; socket?: { remoteAddress?: unknown } | null } | null | undefined;
  return nonEmptyString(found?.ip) ?? nonEmptyString(found?.socket?.remoteAddress);
}
