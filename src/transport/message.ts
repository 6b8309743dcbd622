import type { ExecutionContext } from '@nestjs/common';
import {
  DEFAULT_MESSAGE,
  RateLimitUnavailableException,
  refusal,
  UNAVAILABLE,
  untraced,
} from '../exceptions/rate-limit.exception.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { RETRY_STORE, type Transport } from './transport.js';

type MessageException = new (answer: object) => Error;

/**
 * A transport that is answered by messages. `load` imports the exception that Nest sends to the client, from a package
 * that only those have who use the transport: so not before there is something to be refused.
 */
export function messageTransport(
  address: (context: ExecutionContext) => string | undefined,
  load: () => Promise<MessageException>,
): Transport {
  let known: MessageException | undefined;
  const exception = (answer: object, cause: Error): MaybePromise<Error> => {
    if (known) return made(known, answer, cause);
    return load().then(
      (loaded) => {
        known = loaded;
        return made(loaded, answer, cause);
      },
      () => cause,
    );
  };
  return {
    address,

    refusal(decision, message = DEFAULT_MESSAGE) {
      const answer = typeof message === 'object' ? message : answerOf(message, decision.retryAfter);
      return exception(answer, refusal(decision));
    },

    unavailable: (_context, cause) =>
      exception(answerOf(UNAVAILABLE, RETRY_STORE), new RateLimitUnavailableException(cause)),
  };
}

/** The exception that Nest knows; `cause` is ours, and carries the decision. */
function made(Exception: MessageException, answer: object, cause: Error): Error {
  return Object.assign(
    untraced(() => new Exception(answer)),
    { cause },
  );
}

/** What the client is sent. */
export function answerOf(message: string, retryAfter: number): object {
  return { status: 'error', message, ...(retryAfter !== Infinity && { retryAfter }) };
}
