import {
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
  type Type,
  UseInterceptors,
} from '@nestjs/common';
import { defer, lastValueFrom, type Observable } from 'rxjs';
import { readerOf } from '../context/readers.js';
import type { Handler } from '../policy/explorer.js';
import type { Transport } from '../transport/transport.js';
import { type Replier, replacedResult } from './replaced-result.js';
import { observeAnswer, observeHandler } from './settlements.js';
import { observeHeldAnswer, observeHeldHandler } from './slot-hold.js';

/** The results of `onLimited`. They are kept after use, because interceptors such as one with `retry` may subscribe again. */
const results = new WeakMap<object, { readonly value: unknown; readonly adapter: Replier }>();

/** Replaces the handler with the result of `onLimited`, or observes it. */
class RateLimitInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const replaced = results.get(readerOf(context).identity(context));
    if (replaced) return replacedResult(context, replaced.value, replaced.adapter);
    return observeHandler(context, observeHeldHandler(context, next));
  }
}

const interceptor = new RateLimitInterceptor();
/** Observes what leaves the interceptors of a class. */
const answerObserver: NestInterceptor = {
  intercept: (context, next) => observeAnswer(context, observeHeldAnswer(context, next)),
};

/** Where Nest keeps the arguments of `@UseInterceptors`. */
const INTERCEPTORS = '__interceptors__';

/** Binds the interceptor, once and next to the handler, so that the user's interceptors see its result. */
export function bindInterceptor(handler: Handler): void {
  if (!isBound(handler)) UseInterceptors(interceptor)(handler);
}

function isBound(handler: Handler): boolean {
  const interceptors: unknown[] = Reflect.getMetadata(INTERCEPTORS, handler) ?? [];
  return interceptors.includes(interceptor);
}

/** Calls a method that is no handler, as Nest calls a handler: with the interceptor, which must be bound to it. */
export function callIntercepted(context: ExecutionContext, call: () => unknown): Promise<unknown> {
  const result = interceptor.intercept(context, { handle: () => defer(async () => call()) });
  return lastValueFrom(result, { defaultValue: undefined });
}

/** Binds the observer of answers in front of the interceptors of a class, and so of those of its handlers. */
export function bindAnswerObserver(type: Type): void {
  const interceptors: unknown[] = Reflect.getMetadata(INTERCEPTORS, type) ?? [];
  if (interceptors.includes(answerObserver)) return;
  Reflect.defineMetadata(INTERCEPTORS, [answerObserver, ...interceptors], type);
}

/** Makes `value` the result of a request, whose handler is not called. The guard admits the request. */
export function replaceResult(context: ExecutionContext, value: unknown, adapter: Replier): void {
  results.set(readerOf(context).identity(context), { value, adapter });
}

/** Whether the interceptor will certainly run; otherwise the handler would, without a limit. */
export function canReplaceResult(context: ExecutionContext, transport: Transport): boolean {
  return isBound(context.getHandler()) && transport.runsInterceptors(context);
}
