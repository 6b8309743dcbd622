import type { ExecutionContext } from '@nestjs/common';
import { graphqlRequestOf, graphqlResponseOf } from '../context/graphql.js';
import { toDecision } from '../core/answer.js';
import type { Decision } from '../core/decision.js';
import {
  DEFAULT_MESSAGE,
  RateLimitUnavailableException,
  refusal,
  UNAVAILABLE,
} from '../exceptions/rate-limit.exception.js';
import { type FixedHeaders, type HeaderWriter, writeHeaders, writeRetryAfter } from './headers.js';
import { addressOfRequest, RETRY_STORE, type Transport } from './transport.js';

/** Apollo and Mercurius. What is thrown has `extensions`, which graphql-js takes over into its own error. */
export const graphql: Transport = {
  address: (context) => addressOfRequest(graphqlRequestOf(context)),

  writeHeaders(context, decision, sets, fixed) {
    const response = writableResponse(context);
    if (!response) return;
    const all = together(response, { fixed, decision });
    writeHeaders(all.decision, sets, all.fixed, WRITER, response);
  },

  refusal(decision, given = DEFAULT_MESSAGE) {
    const { message, ...more } = {
      message: DEFAULT_MESSAGE,
      ...(typeof given === 'object' ? given : { message: given }),
    };
    const extensions = { ...extensionsOf('TOO_MANY_REQUESTS', 429, decision.retryAfter), ...more };
    return Object.assign(refusal(decision, bodyOf(message)), { extensions });
  },

  unavailable(context, cause) {
    const response = writableResponse(context);
    if (response) writeRetryAfter(RETRY_STORE, WRITER, response);
    const extensions = extensionsOf('SERVICE_UNAVAILABLE', 503, RETRY_STORE);
    return Object.assign(new RateLimitUnavailableException(cause, bodyOf(UNAVAILABLE)), { extensions });
  },
};

/** Without `statusCode`, by which Nest's driver for Apollo knows an error that it has to translate. */
function bodyOf(message: string): object {
  return { message };
}

function extensionsOf(code: string, status: number, retryAfter: number): object {
  return { code, http: { status }, ...(retryAfter !== Infinity && { retryAfter }) };
}

interface Writable {
  header?(name: string, value: string): unknown;
  setHeader?(name: string, value: string): unknown;
  readonly headersSent?: boolean;
  readonly raw?: { readonly headersSent?: boolean };
}

/** Of whatever framework the response is that the context leads to. */
const WRITER: HeaderWriter = {
  setHeader(response, name, value) {
    const writable = response as Writable;
    if (writable.header) writable.header(name, value);
    else writable.setHeader?.(name, value);
  },
};

/** The response, as long as its headers have not been sent. */
function writableResponse(context: ExecutionContext): object | undefined {
  const response = graphqlResponseOf(context) as Writable | undefined;
  return response && !(response.raw ?? response).headersSent ? response : undefined;
}

interface Told {
  readonly fixed: FixedHeaders;
  readonly decision: Decision;
}

/** What was told in the headers of a response, which the executions of several fields have in common. */
const told = new WeakMap<object, Told>();

/** Adds a decision to what was told before it. */
function together(response: object, now: Told): Told {
  const before = told.get(response);
  const all = before ? { fixed: union(before, now), decision: merged(before.decision, now.decision) } : now;
  told.set(response, all);
  return all;
}

/** Each item once, in the order of the limits in `merged`. */
function union(before: Told, now: Told): FixedHeaders {
  const both = [before, now];
  const beginnings = new Map(
    both.flatMap(({ fixed, decision }) => decision.limits.map(({ name }, i) => [name, fixed.beginnings[i]])),
  );
  // A quote inside of a name is escaped, so no name contains what parts the items.
  const items = both.flatMap(({ fixed }) => fixed.policies.split(/, (?=")/));
  return { policies: [...new Set(items)].join(', '), beginnings: [...beginnings.values()] };
}

/** Each limit as it stands now; the rest is of the decision that is worse. */
function merged(before: Decision, now: Decision): Decision {
  const limits = new Map([...before.limits, ...now.limits].map((limit) => [limit.name, limit]));
  const longer = before.retryAfter - now.retryAfter;
  const worse = longer > 0 || (longer === 0 && before.remaining < now.remaining) ? before : now;
  return { ...toDecision(worse), limits: [...limits.values()] };
}
