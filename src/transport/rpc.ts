import { throwError } from 'rxjs';
import { pauseUntilRetry } from './kafka.js';
import { type Encode, encodedAnswer, messageBody, messageTransport } from './message.js';
import type { Transport } from './transport.js';

const encode: Encode = (answer, host) => {
  pauseUntilRetry(host, answer.retryAfter);
  return messageBody(answer);
};

/** Microservices. */
export const rpc: Transport = {
  ...messageTransport(async () => (await import('@nestjs/microservices')).RpcException, encode),

  // Nest answers the guard's exceptions alike, but logs an error for each of an event if no filter catches it.
  answerThrown: (exception, host) => throwError(() => encodedAnswer(exception, host, encode)),
};
