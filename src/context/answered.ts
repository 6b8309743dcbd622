import type { ExecutionContext } from '@nestjs/common';
import { ClientGoneError } from './connection.js';
import { readerOf } from './readers.js';

/** A response of Express, of Fastify, whose own response is `raw`, or of Node. */
interface Response {
  readonly raw?: Response;
  readonly headersSent?: boolean;
  readonly writableEnded?: boolean;
}

/** Whether the headers of a response have been sent, so that no more can be written. */
export function areHeadersSent(response: unknown): boolean {
  if (!response) return false;
  return ((response as Response).raw ?? (response as Response)).headersSent === true;
}

/** Whether other code, such as a timeout, has already sent the whole response. */
export function isAnswered(context: ExecutionContext): boolean {
  const response = readerOf(context).response(context) as Response | null | undefined;
  if (!response) return false;
  return (response.raw ?? response).writableEnded === true;
}

/**
 * What a guard returns for a request that has been answered. Over HTTP it never settles: neither the handler nor an
 * exception filter may run, because both would write to the response again. A GraphQL execution needs a result to end.
 */
export function endAnswered(context: ExecutionContext): Promise<never> {
  return readerOf(context).endsWithResponse ? new Promise(() => {}) : Promise.reject(new ClientGoneError());
}
