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
  /** Of a response: its connection; none while it waits for the answers to earlier requests on the same one. */
  readonly socket?: Closing | null;
  readonly req?: { readonly socket?: Closing | null };
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
  if (connection.disconnected === true) return true;
  if (connection.writableFinished === true) return false;
  return connection.destroyed === true || queuedOn(connection)?.destroyed === true;
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
  const socket = queuedOn(connection);
  const stop = socket && whenClosed(socket, listener);
  return () => {
    for (const event of ['close', 'disconnect']) connection.removeListener(event, listener);
    stop?.();
  };
}

/** The connection of a response that still has to wait for it: such a response never closes, its connection does. */
function queuedOn({ socket, req }: Closing): Closing | undefined {
  return socket === null ? (req?.socket ?? undefined) : undefined;
}

/** Who waits for a connection to close: one listener for all, however many requests a client sends down it. */
const closing = new WeakMap<Closing, Set<() => void>>();

function whenClosed(socket: Closing, listener: () => void): () => void {
  let listeners = closing.get(socket);
  if (!listeners) {
    const all = new Set<() => void>();
    listeners = all;
    closing.set(socket, all);
    socket.once('close', () => {
      for (const each of [...all]) each();
    });
  }
  listeners.add(listener);
  return () => listeners.delete(listener);
}
