import { HttpException, HttpStatus, ServiceUnavailableException } from '@nestjs/common';
import type { Decision } from '../core/decision.js';

/** The text of a refusal whose policy has no `message` of its own. */
export const DEFAULT_MESSAGE = 'Too Many Requests';

/** A refusal: status 429. The guard throws it, `Bucket.consume` rejects with it; `decision` tells why and how long. */
export class RateLimitExceededException extends HttpException {
  constructor(
    readonly decision: Decision,
    body: string | object = { statusCode: HttpStatus.TOO_MANY_REQUESTS, message: DEFAULT_MESSAGE },
  ) {
    super(body, HttpStatus.TOO_MANY_REQUESTS);
  }
}

/** The text of what is thrown where the store cannot answer. */
export const UNAVAILABLE = 'Rate limiting is temporarily unavailable';

/** A refusal without a stack trace. */
export function refusal(decision: Decision, body?: string | object): RateLimitExceededException {
  return untraced(() => new RateLimitExceededException(decision, body));
}

/**
 * An error without a stack trace: where a refusal was thrown is known, and the trace would be most of what it costs a
 * flooded server.
 */
export function untraced<T extends Error>(make: () => T): T {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return make();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** The store cannot answer, and the policy's failure mode is `'closed'`: status 503. */
export class RateLimitUnavailableException extends ServiceUnavailableException {
  constructor(cause: Error, body: string | object = UNAVAILABLE) {
    super(body, { cause });
  }
}
