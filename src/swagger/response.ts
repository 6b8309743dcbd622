import { DEFAULT_MESSAGE } from '../exceptions/rate-limit.exception.js';
import { HEADER_FORMATS, type HeaderSet, wholeNumber } from '../transport/header-formats.js';
import type { ApiRateLimitOptions } from './api-rate-limit.js';

/** The parts of a rejection that follow from the policies of its handler. */
export interface KnownRejection {
  /** The header sets of the response; `undefined` if the guard does not write it. */
  readonly headers: readonly HeaderSet[] | undefined;
  readonly problemDetails: boolean;
  /** The `message` of each of its policies. */
  readonly messages: readonly unknown[];
}

const DESCRIPTION =
  'Too many requests. `Retry-After` is the time to wait before a retry; without it, no retry can succeed.';
const DESCRIPTION_WITHOUT_HEADERS = 'Too many requests.';

/** Returns the OpenAPI response object of a rejection. */
export function responseOf(rejection: KnownRejection, { description, schema }: ApiRateLimitOptions): object {
  const { headers, problemDetails } = rejection;
  const type = problemDetails ? 'application/problem+json' : 'application/json';
  return {
    description: description ?? (headers ? DESCRIPTION : DESCRIPTION_WITHOUT_HEADERS),
    ...(headers && { headers: headersOf(headers) }),
    content: { [type]: { schema: schema ?? (problemDetails ? problemSchema() : bodySchema(rejection.messages)) } },
  };
}

function headersOf(sets: readonly HeaderSet[]): object {
  const formats = sets.map((set) => HEADER_FORMATS[set].documented);
  return Object.assign({ 'Retry-After': wholeNumber('Seconds to wait before a retry.', 1) }, ...formats);
}

/** The body that Nest makes of the exception. For a `message` that is no string, only its type is known. */
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
