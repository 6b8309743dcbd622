import type { ExecutionContext } from '@nestjs/common';
import { areHeadersSent } from '../context/answered.js';
import { graphqlResponseOf } from '../context/graphql.js';
import { toDecision } from '../core/answer.js';
import type { Decision } from '../core/decision.js';
import {
  DEFAULT_MESSAGE,
  RateLimitExceededException,
  RateLimitUnavailableException,
  rejection,
  STORE_RETRY_AFTER,
  UNAVAILABLE_MESSAGE,
} from '../exceptions/rate-limit.exception.js';
import type { FixedHeaders } from './header-formats.js';
import { RESPONSE_WRITER, toFixedHeaders, writeHeaders, writeRetryAfter } from './headers.js';
import { retryAfterMember, type Transport } from './transport.js';

/** Apollo and Mercurius. Errors have `extensions`, which graphql-js copies into its own error. */
export const graphql: Transport = {
  /** Fields of objects may have guards but no interceptors: see `fieldResolverEnhancers`. */
  runsInterceptors(context) {
    const info = context.getArgByIndex<{ path?: { prev?: unknown } } | undefined>(3);
    return info?.path !== undefined && info.path.prev === undefined;
  },

  writeHeaders(context, decision, sets, fixed) {
    const response = writableResponse(context);
    if (!response) return false;
    const all = combine(response, { fixed, decision });
    writeHeaders(all.decision, sets, all.fixed, RESPONSE_WRITER, response);
    return true;
  },

  rejection: exceeded,

  unavailable(context, cause) {
    const response = writableResponse(context);
    if (response) writeRetryAfter(STORE_RETRY_AFTER, RESPONSE_WRITER, response);
    return unavailable(cause);
  },

  /** An exception with extensions is the guard's, and complete. */
  answerThrown(exception) {
    if ('extensions' in exception) return undefined;
    if (exception instanceof RateLimitUnavailableException)
      return unavailable(exception.cause, exception.message, exception.retryAfter);
    if (exception instanceof RateLimitExceededException) return exceeded(exception.decision, exception.message);
    return undefined;
  },
};

function exceeded(decision: Decision, given: string | object = DEFAULT_MESSAGE): Error {
  const { message, ...more } = {
    message: DEFAULT_MESSAGE,
    ...(typeof given === 'object' ? given : { message: given }),
  };
  const extensions = { ...extensionsOf('TOO_MANY_REQUESTS', 429, decision.retryAfter), ...more };
  return Object.assign(rejection(decision, bodyOf(message)), { extensions });
}

function unavailable(cause: unknown, message = UNAVAILABLE_MESSAGE, retryAfter = STORE_RETRY_AFTER): Error {
  const extensions = extensionsOf('SERVICE_UNAVAILABLE', 503, retryAfter);
  return Object.assign(new RateLimitUnavailableException(cause as Error | undefined, bodyOf(message)), { extensions });
}

/** Without `statusCode`: Nest's driver for Apollo would translate an error that has it. */
function bodyOf(message: string): object {
  return { message };
}

function extensionsOf(code: string, status: number, retryAfter: number): object {
  return { code, http: { status }, ...retryAfterMember(retryAfter) };
}

/** The response, unless its headers have been sent. */
function writableResponse(context: ExecutionContext): object | undefined {
  const response = graphqlResponseOf(context);
  return response && !areHeadersSent(response) ? response : undefined;
}

interface Written {
  readonly fixed: FixedHeaders;
  readonly decision: Decision;
}

/** What was written in the headers of a response, which the executions of several fields share. */
const written = new WeakMap<object, Written>();

/** Adds a decision to those that were written to the response before. */
function combine(response: object, now: Written): Written {
  const before = written.get(response);
  const all = before ? { fixed: union(before, now), decision: merge(before.decision, now.decision) } : now;
  written.set(response, all);
  return all;
}

/** Each limit once, in the order of the limits in `merge`. */
function union(before: Written, now: Written): FixedHeaders {
  const quotas = [...before.fixed.quotas, ...now.fixed.quotas];
  return toFixedHeaders([...new Map(quotas.map((quota) => [quota.label, quota])).values()]);
}

/** Each limit in its latest state; the rest comes from the worse decision. */
function merge(before: Decision, now: Decision): Decision {
  const limits = new Map([...before.limits, ...now.limits].map((limit) => [limit.name, limit]));
  const isWorse =
    before.retryAfter === now.retryAfter ? before.remaining < now.remaining : before.retryAfter > now.retryAfter;
  return { ...toDecision(isWorse ? before : now), limits: [...limits.values()] };
}
