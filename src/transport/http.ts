import { requestOf, responseOf } from '../context/http.js';
import { DEFAULT_MESSAGE, RateLimitUnavailableException, refusal } from '../exceptions/rate-limit.exception.js';
import { writeHeaders, writeRetryAfter } from './headers.js';
import { addressOfRequest, RETRY_STORE, type Transport } from './transport.js';

/** Express and Fastify: 429 with headers. */
export const http: Transport = {
  address: (context) => addressOfRequest(requestOf(context)),

  writeHeaders(context, decision, sets, fixed, adapter) {
    writeHeaders(decision, sets, fixed, adapter, responseOf(context));
  },

  refusal: (decision, message = DEFAULT_MESSAGE) =>
    refusal(decision, typeof message === 'object' ? message : { statusCode: 429, message }),

  unavailable(context, cause, adapter) {
    writeRetryAfter(RETRY_STORE, adapter, responseOf(context));
    return new RateLimitUnavailableException(cause);
  },
};
