import { areHeadersSent } from '../context/answered.js';
import { responseOf } from '../context/http.js';
import {
  DEFAULT_MESSAGE,
  RateLimitUnavailableException,
  rejection,
  STORE_RETRY_AFTER,
} from '../exceptions/rate-limit.exception.js';
import { writeHeaders, writeRetryAfter } from './headers.js';
import type { Transport } from './transport.js';

/** Express and Fastify: 429 with headers. */
export const http: Transport = {
  runsInterceptors: () => true,

  writeHeaders(context, decision, sets, fixed, adapter) {
    const response = responseOf(context);
    if (areHeadersSent(response)) return false;
    writeHeaders(decision, sets, fixed, adapter, response);
    return true;
  },

  rejection: (decision, message = DEFAULT_MESSAGE) => rejection(decision, ownBody(message)),

  unavailable(context, cause, adapter) {
    const response = responseOf(context);
    if (!areHeadersSent(response)) writeRetryAfter(STORE_RETRY_AFTER, adapter, response);
    return new RateLimitUnavailableException(cause);
  },
};

/** A constant `message` is copied: a rejection is recognized by its body when it is sent. */
function ownBody(message: string | object): string | object {
  const isPlain = typeof message === 'object' && Object.getPrototypeOf(message) === Object.prototype;
  return isPlain ? { ...message } : message;
}
