import { DEFAULT_MESSAGE, RateLimitUnavailableException, type Rejection } from '../exceptions/rate-limit.exception.js';

const TYPES = 'https://iana.org/assignments/http-problem-types#';

/** A rejection as problem details (RFC 9457), with the types of the RateLimit headers draft. */
export function problemOf(exception: Rejection): object {
  if (exception instanceof RateLimitUnavailableException) {
    return {
      type: `${TYPES}temporary-reduced-capacity`,
      title: 'Temporary Reduced Capacity',
      status: exception.getStatus(),
      detail: exception.message,
    };
  }
  const body = exception.getResponse();
  const { message } = typeof body === 'object' ? (body as { message?: unknown }) : { message: body };
  const { limits, policy } = exception.decision;
  const violated = limits.filter(({ retryAfter }) => retryAfter > 0).map(({ name }) => name);
  const problem = {
    type: `${TYPES}quota-exceeded`,
    title: 'Quota Exceeded',
    status: exception.getStatus(),
    detail: typeof message === 'string' ? message : DEFAULT_MESSAGE,
    'violated-policies': violated.length > 0 ? violated : [policy],
  };
  const { status, 'violated-policies': policies } = problem;
  return { ...problem, ...ownMembers(body), status, 'violated-policies': policies };
}

/** The members of a body that the user defined; none if only its message is the user's. */
function ownMembers(body: string | object): object {
  if (typeof body !== 'object') return {};
  const { statusCode, message, ...more } = body as Record<string, unknown>;
  const plain = statusCode === 429 && typeof message === 'string' && Object.keys(more).length === 0;
  return plain ? {} : body;
}
