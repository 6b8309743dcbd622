import { type ExecutionContext, HttpException } from '@nestjs/common';
import { responseOf } from './http.js';

/** The client closed its connection before it was answered. Status 499, which nobody will read. */
export class ClientGoneError extends HttpException {
  constructor() {
    super('The client has gone', 499);
  }
}

/** What is known of a response or a socket here: that it can close. */
interface Closing {
  once(event: string, listener: () => void): unknown;
  removeListener(event: string, listener: () => void): unknown;
  readonly destroyed?: boolean;
  readonly writableFinished?: boolean;
  readonly disconnected?: boolean;
}

type Loose = Record<string, unknown> | null | undefined;

/** The response (HTTP, GraphQL) or socket (WebSocket) by which the client hears; `undefined` where there is none. */
export function connectionOf(context: ExecutionContext): Closing | undefined {
  const type: string = context.getType();
  let found: Loose;
  if (type === 'http') found = responseOf<Loose>(context);
  else if (type === 'ws') found = context.switchToWs().getClient<Loose>();
  else if (type === 'graphql') {
    const shared = context.getArgByIndex<Loose>(2);
    found = (shared?.res ?? shared?.reply ?? (shared?.req as Loose)?.res) as Loose;
  }
  const raw = (found?.raw ?? found) as Closing | null | undefined;
  return typeof raw?.once === 'function' ? raw : undefined;
}

/** Whether the client has gone. */
export function isGone(context: ExecutionContext): boolean {
  const connection = connectionOf(context);
  if (!connection) return false;
  return connection.disconnected === true || (connection.destroyed === true && connection.writableFinished !== true);
}

/** Calls `listener` when the client goes, or at once if it has; returns the way to stop. */
export function whenGone(context: ExecutionContext, listener: () => void): () => void {
  const connection = connectionOf(context);
  if (!connection) return () => {};
  if (isGone(context)) {
    listener();
    return () => {};
  }
  // Responses and sockets of `ws` close, those of socket.io disconnect.
  for (const event of ['close', 'disconnect']) connection.once(event, listener);
  return () => {
    for (const event of ['close', 'disconnect']) connection.removeListener(event, listener);
  };
}
