import { RateLimitExceededException, RateLimitUnavailableException } from '../rate-limit.exception.js';

const TYPES = 'https://iana.org/assignments/http-problem-types#';

/** A refusal as problem details (RFC 9457), with the types of the RateLimit headers draft. */
export function problemOf(exception: RateLimitExceededException | RateLimitUnavailableException): object {
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
