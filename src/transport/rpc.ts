import { throwError } from 'rxjs';
import { encodedAnswer, messageTransport } from './message.js';
import type { Transport } from './transport.js';

/** Microservices. */
export const rpc: Transport = {
  ...messageTransport(async () => (await import('@nestjs/microservices')).RpcException),

  // Nest answers the guard's exceptions alike, but logs an error for each of an event if no filter catches it.
  answerThrown: (exception, host) => throwError(() => encodedAnswer(exception, host)),
};
