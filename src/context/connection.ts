import { type ExecutionContext, HttpException } from '@nestjs/common';
import { graphqlResponseOf, graphqlSocketOf } from './graphql.js';
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
  readonly readyState?: unknown;
  /** Of a response: its connection; none while it waits for the answers to earlier requests on the same one. */
  readonly socket?: Closing | null;
  readonly req?: { readonly socket?: Closing | null };
}

/** The response by which the client hears; `undefined` where there is none. */
export function connectionOf(context: ExecutionContext): Closing | undefined {
  const type: string = context.getType();
  if (type === 'http') return closing(responseOf(context));
  return type === 'graphql' ? closing(graphqlResponseOf(context)) : undefined;
}

/** The socket by which a client sends messages, which outlives each of them. */
function socketOf(context: ExecutionContext): Closing | undefined {
  const type: string = context.getType();
  if (type === 'ws') return closing(context.switchToWs().getClient());
  if (type === 'graphql') return closing(graphqlSocketOf(context));
  return type === 'rpc' ? closing(tcpSocketOf(context)) : undefined;
}

/** The socket of a message over TCP; other transports have none. */
export function tcpSocketOf(context: ExecutionContext): { readonly remoteAddress?: unknown } | undefined {
  const shared = context.switchToRpc().getContext<{ getSocketRef?: unknown } | null | undefined>();
  if (typeof shared?.getSocketRef !== 'function') return undefined;
  return (shared.getSocketRef() as { socket?: { remoteAddress?: unknown } } | undefined)?.socket;
}

function closing(found: unknown): Closing | undefined {
  const raw = ((found as { raw?: unknown } | null | undefined)?.raw ?? found) as Closing | null | undefined;
  return typeof raw?.once === 'function' ? raw : undefined;
}

/** Whether the client has gone. */
export function isGone(context: ExecutionContext): boolean {
  const connection = connectionOf(context);
  if (!connection) return isClosed(socketOf(context));
  if (connection.writableFinished === true) return false;
  // A socket is destroyed, and has no address, some turns before its response hears of it.
  const socket = connection.socket ?? connection.req?.socket;
  return connection.destroyed === true || socket?.destroyed === true;
}

/** Sockets of socket.io are disconnected, those of `ws` are in state 2 or 3, and others are destroyed. */
function isClosed(socket: Closing | undefined): boolean {
  if (!socket) return false;
  const { destroyed, disconnected, readyState } = socket;
  return destroyed === true || disconnected === true || (typeof readyState === 'number' && readyState > 1);
}

/** Calls `listener` when the client goes, or at once if it has; returns the way to stop. */
export function whenGone(context: ExecutionContext, listener: () => void): () => void {
  if (isGone(context)) {
    listener();
    return () => {};
  }
  const connection = connectionOf(context) ?? socketOf(context);
  if (!connection) return () => {};
  const stop = whenClosed(connection, listener);
  const socket = queuedOn(connection);
  const stopToo = socket && whenClosed(socket, listener);
  return () => {
    stop();
    stopToo?.();
  };
}

/** The connection of a response that still has to wait for it: such a response never closes, its connection does. */
function queuedOn({ socket, req }: Closing): Closing | undefined {
  return socket === null ? (req?.socket ?? undefined) : undefined;
}

/** All sockets close but those of socket.io, which disconnect. */
const ENDS = ['close', 'disconnect'];

/**
 * Who waits for a connection to close: one listener for all, however many requests a client sends down it, and however
 * many fields a query of GraphQL has.
 */
const listening = new WeakMap<Closing, { readonly all: Set<() => void>; readonly tell: () => void }>();

/** Calls `listener` when the connection closes; returns the way to stop. */
export function whenClosed(connection: Closing, listener: () => void): () => void {
  let waiting = listening.get(connection);
  if (!waiting) {
    const all = new Set<() => void>();
    const tell = () => {
      for (const each of [...all]) each();
    };
    waiting = { all, tell };
    listening.set(connection, waiting);
    for (const event of ENDS) connection.once(event, tell);
  }
  const { all, tell } = waiting;
  all.add(listener);
  return () => {
    all.delete(listener);
    if (all.size > 0 || listening.get(connection) !== waiting) return;
    listening.delete(connection);
    for (const event of ENDS) connection.removeListener(event, tell);
  };
}
