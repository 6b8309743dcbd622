import { areHeadersSent } from '../context/answered.js';
import { type Rejection, rejectionOf } from '../exceptions/rate-limit.exception.js';
import { RESPONSE_WRITER, writeRetryAfter } from './headers.js';
import { problemOf } from './problem-details.js';
import { retryAfterOf } from './transport.js';

/** Nest's HTTP adapter, which sends all responses. */
interface ReplyingAdapter {
  reply(response: unknown, body: unknown, status?: number): unknown;
  end(response: unknown): unknown;
}

/**
 * Completes rejections where they are sent: `Retry-After`, which the exceptions of `Bucket.consume` lack, and problem
 * details. All exception filters that call `super.catch` reply through the adapter, and a catch-all filter of the user's
 * gets the exception before any other filter.
 */
export function completeRejections(adapter: ReplyingAdapter, problemDetails: boolean): void {
  const reply = adapter.reply.bind(adapter);
  adapter.reply = (response, body, status) => {
    const rejection = status !== undefined && status >= 400 ? rejectionOf(body) : undefined;
    if (!rejection) return reply(response, body, status);
    if (areHeadersSent(response)) return adapter.end(response);
    addRetryAfter(response, rejection);
    if (!problemDetails) return reply(response, body, status);
    RESPONSE_WRITER.setHeader(response, 'content-type', 'application/problem+json');
    // A string, because Nest 11 on Express would send an object as application/json.
    return reply(response, JSON.stringify(problemOf(rejection)), status);
  };
}

/** The guard has written it for its own rejections. */
function addRetryAfter(response: unknown, rejection: Rejection): void {
  const written = (response as { getHeader?(name: string): unknown }).getHeader?.('retry-after');
  if (written === undefined) writeRetryAfter(retryAfterOf(rejection), RESPONSE_WRITER, response);
}
