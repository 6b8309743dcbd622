import { DEFAULT_MESSAGE } from '../exceptions/rate-limit.exception.js';
import type { HeaderSet } from '../transport/headers.js';
import type { ApiRateLimitOptions } from './api-rate-limit.js';

/** How a refusal answers. */
export interface Refusal {
  /** The header sets of its answer; `undefined` where the guard does not write it. */
  readonly headers: readonly HeaderSet[] | undefined;
  readonly problemDetails: boolean;
  /** `message` of each of its policies. */
  readonly messages: readonly unknown[];
}

const DESCRIPTION = 'Too many requests. `Retry-After` tells when to come again; without it, no retry can pass.';
const WITHOUT_HEADERS = 'Too many requests.';

/** The response object of OpenAPI for a refusal. */
export function responseOf(refusal: Refusal, { description, schema }: ApiRateLimitOptions): object {
  const { headers, problemDetails } = refusal;
  const type = problemDetails ? 'application/problem+json' : 'application/json';
  return {
    description: description ?? (headers ? DESCRIPTION : WITHOUT_HEADERS),
    ...(headers && { headers: headersOf(headers) }),
    content: { [type]: { schema: schema ?? (problemDetails ? problemSchema() : bodySchema(refusal.messages)) } },
  };
}

function headersOf(sets: readonly HeaderSet[]): object {
  return {
    'Retry-After': whole('Seconds after which to come again.', 1),
    ...(sets.includes('draft-11') && {
      RateLimit: { description: 'What is left of each limit.', schema: { type: 'string' } },
      'RateLimit-Policy': { description: 'The limits.', schema: { type: 'string' } },
    }),
    ...(sets.includes('draft-6') && triple('RateLimit')),
    ...(sets.includes('legacy') && triple('X-RateLimit')),
  };
}

function triple(prefix: string): object {
  return {
    [`${prefix}-Limit`]: whole('The most requests.', 0),
    [`${prefix}-Remaining`]: whole('Requests that are left.', 0),
    [`${prefix}-Reset`]: whole('Seconds until all are there again.', 0),
  };
}

function whole(description: string, minimum: number): object {
  return { description, schema: { type: 'integer', minimum } };
}

/** The body that Nest makes of the exception; of an object or a function nothing more is known. */
function bodySchema(messages: readonly unknown[]): object {
  if (messages.some((message) => message !== undefined && typeof message !== 'string')) return { type: 'object' };
  const [first = DEFAULT_MESSAGE] = messages;
  return {
    type: 'object',
    required: ['statusCode', 'message'],
    properties: {
      statusCode: { type: 'integer', example: 429 },
      message: { type: 'string', example: first },
    },
  };
}

function problemSchema(): object {
  return {
    type: 'object',
    required: ['type', 'title', 'status', 'violated-policies'],
    properties: {
      type: {
        type: 'string',
        format: 'uri',
        example: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
      },
      title: { type: 'string', example: 'Quota Exceeded' },
      status: { type: 'integer', example: 429 },
      detail: { type: 'string' },
      'violated-policies': { type: 'array', items: { type: 'string' } },
    },
  };
}
