import { ClientGoneError } from '../context/connection.js';
import {
  DEFAULT_MESSAGE,
  RateLimitUnavailableException,
  type Rejection,
  rejection,
  UNAVAILABLE_MESSAGE,
  withoutStackTrace,
} from '../exceptions/rate-limit.exception.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { retryAfterMember, retryAfterOf, STORE_RETRY_AFTER, type Transport } from './transport.js';

type MessageException = new (answer: object) => Error;

/**
 * A transport that answers with messages. `load` imports the exception that Nest sends to the client, from a package
 * that only users of the transport have installed: so it is called when there is something to reject.
 */
export function messageTransport(load: () => Promise<MessageException>): Transport {
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

    rejection(decision, message = DEFAULT_MESSAGE) {
      const answer = typeof message === 'object' ? message : messageBody(message, decision.retryAfter);
      return exception(answer, rejection(decision));
    },

    unavailable: (_context, cause) =>
      exception(messageBody(UNAVAILABLE_MESSAGE, STORE_RETRY_AFTER), new RateLimitUnavailableException(cause)),
  };
}

/** The exception that Nest knows; `cause` is ours, and has the decision. */
function withCause(Exception: MessageException, answer: object, cause: Error): Error {
  return Object.assign(
    withoutStackTrace(() => new Exception(answer)),
    { cause },
  );
}

/** The message that the client receives. */
function messageBody(message: string, retryAfter: number): object {
  return { status: 'error', message, ...retryAfterMember(retryAfter) };
}

/** The message of an exception; that of a client that has disconnected is never sent. */
export function messageOf(exception: Rejection | ClientGoneError): object {
  return messageBody(exception.message, exception instanceof ClientGoneError ? Infinity : retryAfterOf(exception));
}
