import { HttpException, HttpStatus, ServiceUnavailableException } from '@nestjs/common';
import type { Decision } from './core/decision.js';

/** The text of a refusal whose policy has no `message` of its own. */
export const DEFAULT_MESSAGE = 'Too Many Requests';

/** A refusal: status 429. The guard throws it, `Bucket.consume` rejects with it; `decision` tells why and until when. */
export class RateLimitExceededException extends HttpException {
  constructor(
    readonly decision: Decision,
    body: string | object = { statusCode: HttpStatus.TOO_MANY_REQUESTS, message: DEFAULT_MESSAGE },
  ) {
    super(body, HttpStatus.TOO_MANY_REQUESTS);
  }
}

/**
 * A refusal without a stack trace: where it was thrown is known, and the trace would be most of what a refusal costs
 * a flooded server.
 */
export function refusal(decision: Decision, body?: string | object): RateLimitExceededException {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return new RateLimitExceededException(decision, body);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** The store cannot answer, and the policy's failure mode is `'closed'`: status 503. */
export class RateLimitUnavailableException extends ServiceUnavailableException {
  constructor(cause: Error) {
    super('Rate limiting is temporarily unavailable', { cause });
  }
}
