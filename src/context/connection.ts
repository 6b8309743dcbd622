import { type ExecutionContext, HttpException } from '@nestjs/common';
import { brand } from '../util/brand.js';
import { readerOf } from './readers.js';

/** The client disconnected before it was answered. Its status, 499, is never sent. */
export class ClientGoneError extends HttpException {
  static {
    brand(this, 'ClientGoneError');
  }

  constructor() {
    super('Client disconnected before it was answered', 499);
  }
}

/** A response or socket, as far as it is used here: something that can close. */
interface Connection {
  once(event: string, listener: () => void): unknown;
  removeListener(event: string, listener: () => void): unknown;
  readonly destroyed?: boolean;
  /** Of a response: whether everything was written, though it may still have to be sent. */
  readonly writableEnded?: boolean;
  /** Of a response: whether all of it was handed to the operating system. */
  readonly writableFinished?: boolean;
  readonly disconnected?: boolean;
  readonly readyState?: unknown;
  /** Of a call over gRPC. */
  readonly cancelled?: boolean;
  readonly statusCode?: number;
  /** Of a response over HTTP/2. */
  readonly stream?: { readonly destroyed?: boolean; readonly aborted?: boolean } | null;
  /** Of a response: its socket; none while it waits for the answers to earlier requests on the same one. */
  readonly socket?: Connection | null;
  readonly req?: { readonly socket?: Connection | null };
}

/** The response that the client waits for; `undefined` if there is none. */
export function responseConnection(context: ExecutionContext): Connection | undefined {
  return toConnection(readerOf(context).response(context));
}

function socketConnection(context: ExecutionContext): Connection | undefined {
  return toConnection(readerOf(context).socket(context));
}

/** Fastify's replies wrap Node's response as `raw`. */
function toConnection(found: unknown): Connection | undefined {
  const raw = ((found as { raw?: unknown } | null | undefined)?.raw ?? found) as Connection | null | undefined;
  return typeof raw?.once === 'function' ? raw : undefined;
}

/** Whether the client has disconnected before its response was written. */
export function isDisconnected(context: ExecutionContext): boolean {
  const response = responseConnection(context);
  if (!response) return isClosed(socketConnection(context)) || isReset(context);
  if (response.writableEnded === true) return false;
  if (isReset(context) || response.destroyed === true) return true;
  const { stream } = response;
  if (stream) return stream.destroyed === true || stream.aborted === true;
  // A socket is destroyed, and loses its address, some turns of the event loop before its response emits `close`.
  return (response.socket ?? response.req?.socket)?.destroyed === true;
}

/**
 * Calls `listener` when the response is over: when all of it was handed to the operating system, or when the client
 * disconnected, at once if it is. Responses of serverless adapters emit only `finish`, those of clients that disconnect
 * only `close`. Without a response it is never called. Returns a function that stops listening.
 */
export function onResponseEnd(context: ExecutionContext, listener: () => void): () => void {
  const response = responseConnection(context);
  if (!response) return () => {};
  if (response.writableFinished || (response.writableEnded && response.destroyed)) {
    listener();
    return () => {};
  }
  const stop = onDisconnect(context, listener);
  response.once('finish', listener);
  return () => {
    stop();
    response.removeListener('finish', listener);
  };
}

/**
 * Whether the client has reset its connection, or closed it. A reset takes the remote address at once, while what the
 * client sent before is still being read, and long before anything is closed. Unix sockets never have an address.
 */
function isReset(context: ExecutionContext): boolean {
  const socket = readerOf(context).networkSocket(context) as NetworkSocket | null | undefined;
  if (!socket) return false;
  return socket.destroyed === true || (socket.remoteAddress === undefined && typeof socket.localAddress === 'string');
}

interface NetworkSocket {
  readonly destroyed?: boolean;
  readonly remoteAddress?: string;
  readonly localAddress?: string;
}

/**
 * Sockets of socket.io have `disconnected`, those of `ws` are in state 2 or 3, and others are destroyed. Calls of gRPC are
 * destroyed when the client has sent everything, and still have to be answered.
 */
function isClosed(socket: Connection | undefined): boolean {
  if (!socket) return false;
  if (isCall(socket)) return socket.cancelled === true;
  const { destroyed, disconnected, readyState } = socket;
  return destroyed === true || disconnected === true || (typeof readyState === 'number' && readyState > 1);
}

/** Calls `listener` when the client disconnects, at once if it has; returns a function that stops listening. */
export function onDisconnect(context: ExecutionContext, listener: () => void): () => void {
  if (isDisconnected(context)) {
    listener();
    return () => {};
  }
  const connection = responseConnection(context) ?? socketConnection(context);
  if (!connection) return () => {};
  const stop = onClose(connection, listener);
  const socket = pipelinedOn(connection);
  const stopSocket = socket && onClose(socket, listener);
  return () => {
    stop();
    stopSocket?.();
  };
}

/** The socket that a pipelined response waits for: such a response never closes, its socket does. */
function pipelinedOn({ socket, req }: Connection): Connection | undefined {
  return socket === null ? (req?.socket ?? undefined) : undefined;
}

function isCall(connection: Connection): boolean {
  return connection.cancelled !== undefined;
}

/** All connections emit `close`, except those of socket.io, which emit `disconnect`. */
const CLOSE_EVENTS = ['close', 'disconnect'];
/** Calls of gRPC also emit `close` when the client has sent everything. */
const CALL_EVENTS = ['cancelled'];

function closeEventsOf(connection: Connection): readonly string[] {
  return isCall(connection) ? CALL_EVENTS : CLOSE_EVENTS;
}

/**
 * The listeners of each connection, behind one listener of its emitter: a client may have many requests on one
 * connection, and a GraphQL query many fields.
 */
const listeners = new WeakMap<Connection, { readonly all: Set<() => void>; readonly notify: () => void }>();

/** Calls `listener` when the connection closes; returns a function that stops listening. */
export function onClose(connection: Connection, listener: () => void): () => void {
  let entry = listeners.get(connection);
  if (!entry) {
    const all = new Set<() => void>();
    const notify = () => {
      for (const each of [...all]) each();
    };
    entry = { all, notify };
    listeners.set(connection, entry);
    for (const event of closeEventsOf(connection)) connection.once(event, notify);
  }
  const { all, notify } = entry;
  all.add(listener);
  return () => {
    all.delete(listener);
    if (all.size > 0 || listeners.get(connection) !== entry) return;
    listeners.delete(connection);
    for (const event of closeEventsOf(connection)) connection.removeListener(event, notify);
  };
}
