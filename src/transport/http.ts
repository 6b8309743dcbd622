import { responseOf } from '../context/http.js';
import { DEFAULT_MESSAGE, RateLimitUnavailableException, rejection } from '../exceptions/rate-limit.exception.js';
import { writeHeaders, writeRetryAfter } from './headers.js';
import { STORE_RETRY_AFTER, type Transport } from './transport.js';

/** Express and Fastify: 429 with headers. */
export const http: Transport = {
  runsInterceptors: () => true,

  writeHeaders(context, decision, sets, fixed, adapter) {
    writeHeaders(decision, sets, fixed, adapter, responseOf(context));
  },

  rejection: (decision, message = DEFAULT_MESSAGE) =>
    rejection(decision, typeof message === 'object' ? message : { statusCode: 429, message }),

  unavailable(context, cause, adapter) {
    writeRetryAfter(STORE_RETRY_AFTER, adapter, responseOf(context));
    return new RateLimitUnavailableException(cause);
  },
};
