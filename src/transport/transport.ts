import type { ArgumentsHost, ExecutionContext } from '@nestjs/common';
import type { ClientGoneError } from '../context/connection.js';
import type { Decision } from '../core/decision.js';
import {
  type MissingHeaderException,
  RateLimitExceededException,
  type Rejection,
} from '../exceptions/rate-limit.exception.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { FixedHeaders, HeaderSet, HeaderWriter } from './header-formats.js';

/** What the filter catches. */
export type Thrown = Rejection | MissingHeaderException | ClientGoneError;

/** Writes the answers to one kind of request. The counterpart of `ContextReader`, which reads the request. */
export interface Transport {
  /** Whether Nest runs the handler's interceptors, so that one can answer instead of it. */
  runsInterceptors(context: ExecutionContext): boolean;
  /** Writes the headers of a decision; `false` if they can no longer be written. Absent if answers have no headers. */
  writeHeaders?(
    context: ExecutionContext,
    decision: Decision,
    sets: readonly HeaderSet[],
    fixed: FixedHeaders,
    adapter: HeaderWriter,
  ): boolean;
  /** The error to throw for a rejection. `message` is its message, or its whole body. */
  rejection(decision: Decision, message: string | object | undefined, context: ExecutionContext): MaybePromise<Error>;
  /** How to handle a denied message that has no sender to answer; `undefined` if nothing has to be done. */
  unansweredHint?(context: ExecutionContext): string | undefined;
  /** The error to throw if the store is unavailable and the failure mode is `'closed'`. */
  unavailable(context: ExecutionContext, cause: Error, adapter: HeaderWriter): MaybePromise<Error>;
  /**
   * What an exception filter returns for a rejection that the application's code threw, or for a client that has
   * disconnected; of transports that send messages also for the exceptions of the guard. Absent, or `undefined`, if Nest
   * handles such exceptions itself.
   */
  answerThrown?(exception: Thrown, host: ArgumentsHost): unknown;
}

/** `retryAfter` in ms as a member of a message or an extension; empty if no retry can succeed. */
export function retryAfterMember(retryAfter: number): { retryAfter?: number } {
  return retryAfter === Infinity ? {} : { retryAfter };
}

/** Milliseconds after which the client may retry; `Infinity` for never. */
export function retryAfterOf(exception: Rejection): number {
  return exception instanceof RateLimitExceededException ? exception.decision.retryAfter : exception.retryAfter;
}
