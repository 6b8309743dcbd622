import { of, throwError } from 'rxjs';
import { answersItself, endCall, grpcCallOf } from '../context/grpc.js';
import { DEFAULT_MESSAGE } from '../exceptions/rate-limit.exception.js';
import { retryMetadata } from './grpc-metadata.js';
import { type Encode, encodedAnswer, messageTransport } from './message.js';
import type { Transport } from './transport.js';

/** CANCELLED is never sent. */
const CODES = { exceeded: 8, unavailable: 14, invalid: 3, disconnected: 1 } as const;

/** The status of a call, as `@grpc/grpc-js` reads it from an error. Of a body from the user it has the message. */
const encode: Encode = ({ reason, message, retryAfter }, host) => {
  const text = typeof message === 'object' ? (message as { message?: unknown }).message : message;
  const status = { code: CODES[reason], message: typeof text === 'string' ? text : DEFAULT_MESSAGE };
  return { ...status, metadata: retryMetadata(grpcCallOf(host), status, retryAfter) };
};

/** gRPC: the status RESOURCE_EXHAUSTED, with hints for retries in its metadata. */
export const grpc: Transport = {
  ...messageTransport(async () => (await import('@nestjs/microservices')).RpcException, encode),

  /** What an interceptor returns is not sent if the handler answers itself. */
  runsInterceptors: (context) => !answersItself(context),

  answerThrown(exception, host) {
    const status = encodedAnswer(exception, host, encode);
    if (!answersItself(host)) return throwError(() => status);
    endCall(host, status);
    return of(undefined);
  },
};
