import type { ExecutionContext } from '@nestjs/common';
import type { Decision } from '../core/decision.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { FixedHeaders, HeaderSet, HeaderWriter } from './headers.js';

/** What is different from one kind of request to the next: who the client is, and how it is answered. */
export interface Transport {
  /** The client's address; `undefined` where there is none. */
  address(context: ExecutionContext): string | undefined;
  /** Tells how the limits stand. Absent where an answer has no headers. */
  writeHeaders?(
    context: ExecutionContext,
    decision: Decision,
    sets: readonly HeaderSet[],
    fixed: FixedHeaders,
    adapter: HeaderWriter,
  ): void;
  /** What a refusal throws. `message` is its text, or all that it says. */
  refusal(decision: Decision, message?: string | object): MaybePromise<Error>;
  /** What is thrown where the store has failed, and the failure mode is `'closed'`. */
  unavailable(context: ExecutionContext, cause: Error, adapter: HeaderWriter): MaybePromise<Error>;
}

/** ms after which one may ask again whether the store has come back. */
export const RETRY_STORE = 1000;

/** An address as a framework tells it. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** The address of a request's client: `request.ip`, so it is the framework that decides which proxy is trusted. */
export function addressOfRequest(request: unknown): string | undefined {
  const found = request as { ip?: unknown; socket?: { remoteAddress?: unknown } | null } | null | undefined;
  return textOf(found?.ip) ?? textOf(found?.socket?.remoteAddress);
}
