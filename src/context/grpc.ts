import type { ArgumentsHost } from '@nestjs/common';
import { type ContextReader, nonEmptyString } from './context-reader.js';

/** Metadata of a call, or of its status. */
export interface GrpcMetadata {
  set(key: string, value: string | Buffer): void;
  /** The first value of each key. */
  getMap(): object;
}

/** A call on the server, as far as it is used here: a stream, or an emitter if neither side streams. */
export interface GrpcCall {
  /** `address:port`, also of IPv6 without brackets; `unknown` over Unix sockets, and if the client has disconnected. */
  getPeer(): string;
  readonly metadata: GrpcMetadata;
  /** Also set, as a `cancelled` event is emitted, when the call has ended normally. */
  readonly cancelled: boolean;
  readonly user?: unknown;
  emit(event: string, error: unknown): unknown;
}

/** Reports the status of a call that the client does not end by streaming. */
type Callback = (error: unknown) => void;

function asCall(value: unknown): GrpcCall | undefined {
  return typeof (value as GrpcCall | null | undefined)?.getPeer === 'function' ? (value as GrpcCall) : undefined;
}

/** The call of a context: the third argument of a handler, or the only one of `@GrpcStreamCall`. */
export function grpcCallOf(context: ArgumentsHost): GrpcCall | undefined {
  return asCall(context.getArgByIndex(2)) ?? asCall(context.getArgByIndex(0));
}

/** Whether a handler of `@GrpcStreamCall` answers the call itself: Nest sends neither its result nor its error. */
export function answersItself(context: ArgumentsHost): boolean {
  return asCall(context.getArgByIndex(0)) !== undefined;
}

/** Ends a call that its handler answers itself. */
export function endCall(context: ArgumentsHost, status: object): void {
  const callback = context.getArgByIndex<Callback | undefined>(1);
  if (callback) callback(status);
  else context.getArgByIndex<GrpcCall>(0).emit('error', status);
}

/** Brackets the address of IPv6, whose port is otherwise taken for its last group. */
function addressOf(peer: string | undefined): string | undefined {
  const [, address, port] = /^(?:ipv[46]:)?([^[]*:[^[]*):(\d+)$/.exec(peer ?? '') ?? [];
  return address ? `[${address}]:${port}` : nonEmptyString(peer?.replace(/^ipv[46]:/, ''));
}

/** Reads calls of gRPC, which Nest reports as `rpc`. */
export const grpc: ContextReader = {
  hasHttpRequest: false,
  endsWithResponse: false,
  address: (context) => addressOf(grpcCallOf(context)?.getPeer()),

  request(context) {
    const call = grpcCallOf(context);
    const data = context.getArgByIndex<{ readonly user?: unknown } | null | undefined>(0);
    return { headers: call?.metadata.getMap(), user: call?.user ?? data?.user };
  },

  response: () => undefined,
  socket: grpcCallOf,
  networkSocket: () => undefined,
  identity: (context) => context.getArgs(),
};
