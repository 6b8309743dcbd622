import { throwError } from 'rxjs';
import { messageOf, messageTransport } from './message.js';
import type { Transport } from './transport.js';

/** Microservices. */
export const rpc: Transport = {
  ...messageTransport(async () => (await import('@nestjs/microservices')).RpcException),

  answerThrown: (exception) => throwError(() => messageOf(exception)),
};
