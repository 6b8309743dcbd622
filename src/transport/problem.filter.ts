import { type ArgumentsHost, Catch, type ExceptionFilter } from '@nestjs/common';
import type { HttpAdapterHost } from '@nestjs/core';
import { throwError } from 'rxjs';
import { RateLimitExceededException, RateLimitUnavailableException } from '../rate-limit.exception.js';
import { answerOf } from './message.js';
import { RETRY_STORE } from './transport.js';

const TYPES = 'https://iana.org/assignments/http-problem-types#';

/** Writes refusals as `application/problem+json` (RFC 9457), with the types of the RateLimit headers draft. */
@Catch(RateLimitExceededException, RateLimitUnavailableException)
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly adapterHost: HttpAdapterHost) {}

  catch(exception: RateLimitExceededException | RateLimitUnavailableException, host: ArgumentsHost): unknown {
    // What a handler's own code has thrown; what the guard throws is no business of this filter.
    if (host.getType() === 'rpc') return throwError(() => answerTo(exception));
    if (host.getType() !== 'http') return exception;
    const { httpAdapter } = this.adapterHost;
    const response = host.switchToHttp().getResponse<unknown>();
    httpAdapter.setHeader(response, 'Content-Type', 'application/problem+json');
    // A text, because Nest 11 on Express would call an object application/json.
    return httpAdapter.reply(response, JSON.stringify(problemOf(exception)), exception.getStatus());
  }
}

/** Stands where the filter would, and catches nothing. */
@Catch(class Nothing {})
export class NoFilter implements ExceptionFilter {
  catch(): void {}
}

function answerTo(exception: RateLimitExceededException | RateLimitUnavailableException): object {
  const refused = exception instanceof RateLimitExceededException;
  return answerOf(exception.message, refused ? exception.decision.retryAfter : RETRY_STORE);
}

function problemOf(exception: RateLimitExceededException | RateLimitUnavailableException): object {
  if (exception instanceof RateLimitUnavailableException) {
    return {
      type: `${TYPES}temporary-reduced-capacity`,
      title: 'Temporary Reduced Capacity',
      status: exception.getStatus(),
      detail: exception.message,
    };
  }
  const body = exception.getResponse();
  const { message } = body as { message?: unknown };
  const { limits, policy } = exception.decision;
  const violated = limits.filter(({ retryAfter }) => retryAfter > 0).map(({ name }) => name);
  return {
    type: `${TYPES}quota-exceeded`,
    title: 'Quota Exceeded',
    status: exception.getStatus(),
    detail: typeof message === 'string' ? message : exception.message,
    'violated-policies': violated.length > 0 ? violated : [policy],
    ...(message === undefined && typeof body === 'object' ? body : {}),
  };
}
