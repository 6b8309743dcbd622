import type { ExecutionContext } from '@nestjs/common';
import { ClientGoneError, responseConnection } from './connection.js';
import { readerOf } from './readers.js';

/** Whether other code, such as a timeout, has already sent the whole response. */
export function isAnswered(context: ExecutionContext): boolean {
  return responseConnection(context)?.writableEnded === true;
}

/**
 * What a guard returns for a request that has been answered. Over HTTP it never settles: neither the handler nor an
 * exception filter may run, because both would write to the response again. A GraphQL execution needs a result to end.
 */
export function endAnswered(context: ExecutionContext): Promise<never> {
  return readerOf(context).endsWithResponse ? new Promise(() => {}) : Promise.reject(new ClientGoneError());
}
