import { BadRequestException, HttpException, HttpStatus, ServiceUnavailableException } from '@nestjs/common';
import type { Decision } from '../core/decision.js';
import { brand } from '../util/brand.js';

/** The message of a rejection whose policy has no `message`. */
export const DEFAULT_MESSAGE = 'Too Many Requests';

/**
 * Thrown when a request is rejected: status 429. The guard throws it, and `Bucket.consume` rejects with it. `decision`
 * has the policy, the remaining tokens and the time after which to retry.
 */
export class RateLimitExceededException extends HttpException {
  static {
    brand(this, 'RateLimitExceededException');
  }

  constructor(
    readonly decision: Decision,
    body: string | object = DEFAULT_MESSAGE,
  ) {
    super(typeof body === 'string' ? bodyOf(body) : body, HttpStatus.TOO_MANY_REQUESTS);
  }

  override getResponse(): object {
    return registered(this, super.getResponse() as object);
  }
}

function bodyOf(message: string): object {
  return { statusCode: HttpStatus.TOO_MANY_REQUESTS, message };
}

/** The message of the exception thrown when the store is unavailable. */
export const UNAVAILABLE_MESSAGE = 'Rate limiting is temporarily unavailable';

/** Creates the exception of a rejection, without a stack trace. */
export function rejection(decision: Decision, body?: string | object): RateLimitExceededException {
  return withoutStackTrace(() => new RateLimitExceededException(decision, body));
}

/**
 * Creates an error without a stack trace. Rejections are thrown in one known place, and the trace would be most of
 * their cost on a flooded server.
 */
export function withoutStackTrace<T extends Error>(make: () => T): T {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return make();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** ms after which a client may retry while the store is unavailable. */
export const STORE_RETRY_AFTER = 1000;

/**
 * A request cannot be decided now: status 503. Thrown when the store is unavailable and the policy's failure mode is
 * `'closed'`, and, with another message, when a request is queued or suspended while the application shuts down.
 */
export class RateLimitUnavailableException extends ServiceUnavailableException {
  static {
    brand(this, 'RateLimitUnavailableException');
  }

  /** Milliseconds after which the client may retry, sent as `Retry-After`; `Infinity` for never. 1000 by default. */
  readonly retryAfter: number = STORE_RETRY_AFTER;

  constructor(cause?: Error, body: string | object = UNAVAILABLE_MESSAGE) {
    super(body, { cause });
  }

  override getResponse(): object {
    return registered(this, super.getResponse() as object);
  }
}

/** The exceptions that reject a request. */
export type Rejection = RateLimitExceededException | RateLimitUnavailableException;

const REJECTIONS = Symbol.for('nest-rate-limit:rejections');
const shared = globalThis as { [REJECTIONS]?: WeakMap<object, Rejection> };
shared[REJECTIONS] ??= new WeakMap();

/**
 * Rejections by their bodies, since a filter has read the body: it passes on nothing else of the exception when it
 * replies. All copies of the package in a process share them.
 */
const rejections = shared[REJECTIONS];

function registered(rejection: Rejection, body: object): object {
  rejections.set(body, rejection);
  return body;
}

/** The rejection with this body; `undefined` if it is the body of another response. */
export function rejectionOf(body: unknown): Rejection | undefined {
  return typeof body === 'object' && body !== null ? rejections.get(body) : undefined;
}

/**
 * Thrown when a request lacks the header that `byHeader` reads: status 400. It is the client's error: a server error
 * would be logged with its stack for each such request.
 */
export class MissingHeaderException extends BadRequestException {
  constructor(header: string) {
    super(`The header ${header} is missing`);
  }
}
