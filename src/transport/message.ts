import type { ArgumentsHost } from '@nestjs/common';
import { ClientGoneError } from '../context/connection.js';
import {
  DEFAULT_MESSAGE,
  MissingHeaderException,
  RateLimitUnavailableException,
  rejection,
  STORE_RETRY_AFTER,
  UNAVAILABLE_MESSAGE,
  withoutStackTrace,
} from '../exceptions/rate-limit.exception.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { retryAfterMember, retryAfterOf, type Thrown, type Transport } from './transport.js';

type MessageException = new (answer: object) => Error;

/** An answer before it is encoded for its transport. */
export interface Answer {
  readonly reason: 'exceeded' | 'unavailable' | 'invalid' | 'disconnected';
  /** The message, or a whole body from the user. */
  readonly message: string | object;
  /** ms; `Infinity` if no retry can succeed. */
  readonly retryAfter: number;
}

/** What Nest's exception contains, and Nest sends. */
export type Encode = (answer: Answer, host: ArgumentsHost) => object;

/** The answers in exceptions that the guard has thrown. */
const answers = new WeakMap<object, object>();

/** For `@Catch`: matches the exceptions that the guard throws on these transports, of classes loaded when needed. */
export class GuardException extends Error {
  static override [Symbol.hasInstance](exception: unknown): boolean {
    return answers.has(exception as object);
  }
}

/**
 * A transport that answers with messages. `load` imports the exception that Nest sends to the client, from a package
 * that only users of the transport have installed: so it is called when there is something to reject.
 */
export function messageTransport(load: () => Promise<MessageException>, encode: Encode = messageBody): Transport {
  let loaded: MessageException | undefined;
  const exception = (answer: object, cause: Error): MaybePromise<Error> => {
    if (loaded) return withCause(loaded, answer, cause);
    return load().then(
      (found) => {
        loaded = found;
        return withCause(found, answer, cause);
      },
      () => cause,
    );
  };
  return {
    runsInterceptors: () => true,

    rejection(decision, message = DEFAULT_MESSAGE, context) {
      const { retryAfter } = decision;
      return exception(encode({ reason: 'exceeded', message, retryAfter }, context), rejection(decision));
    },

    unavailable(context, cause) {
      const answer = { reason: 'unavailable', message: UNAVAILABLE_MESSAGE, retryAfter: STORE_RETRY_AFTER } as const;
      return exception(encode(answer, context), new RateLimitUnavailableException(cause));
    },
  };
}

/** The exception that Nest knows; `cause` is ours, and has the decision. */
function withCause(Exception: MessageException, answer: object, cause: Error): Error {
  const exception = Object.assign(
    withoutStackTrace(() => new Exception(answer)),
    { cause },
  );
  answers.set(exception, answer);
  return exception;
}

/** The message that the client receives. */
export function messageBody({ message, retryAfter }: Answer): object {
  return typeof message === 'object' ? message : { status: 'error', message, ...retryAfterMember(retryAfter) };
}

/** The encoded answer of an exception: that of the guard, or the one for an exception of the application's code. */
export function encodedAnswer(exception: Thrown, host: ArgumentsHost, encode: Encode = messageBody): object {
  return answers.get(exception) ?? encode(answerOf(exception), host);
}

/** The answer to a client that has disconnected is never sent. */
function answerOf(exception: Thrown): Answer {
  const { message } = exception;
  if (exception instanceof ClientGoneError) return { reason: 'disconnected', message, retryAfter: Infinity };
  if (exception instanceof MissingHeaderException) return { reason: 'invalid', message, retryAfter: Infinity };
  const reason = exception instanceof RateLimitUnavailableException ? 'unavailable' : 'exceeded';
  return { reason, message, retryAfter: retryAfterOf(exception) };
}
