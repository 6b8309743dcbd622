import { type CallHandler, type ExecutionContext, type NestInterceptor, UseInterceptors } from '@nestjs/common';
import { isObservable, type Observable, of } from 'rxjs';
import { readerOf } from '../context/readers.js';
import type { Handler } from '../policy/explorer.js';
import type { Transport } from '../transport/transport.js';
import { observeOutcome } from './settlement.js';

/** The results of `onLimited`. They are kept, because interceptors such as one with `retry` may subscribe again. */
const answers = new WeakMap<object, { readonly value: unknown }>();

/** Wraps a handler: answers instead of it, or observes its outcome. */
class RateLimitInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const answer = answers.get(readerOf(context).identity(context));
    if (!answer) return observeOutcome(context, next);
    return isObservable(answer.value) ? answer.value : of(answer.value);
  }
}

const interceptor = new RateLimitInterceptor();
/** Where Nest keeps the arguments of `@UseInterceptors`. */
const INTERCEPTORS = '__interceptors__';

/** Binds the interceptor, once and next to the handler, so that the user's interceptors see what it answers. */
export function bindInterceptor(handler: Handler): void {
  if (!isBound(handler)) UseInterceptors(interceptor)(handler);
}

function isBound(handler: Handler): boolean {
  const interceptors: unknown[] = Reflect.getMetadata(INTERCEPTORS, handler) ?? [];
  return interceptors.includes(interceptor);
}

/** Answers a request with `value` instead of calling its handler. The guard admits the request. */
export function answerInstead(context: ExecutionContext, value: unknown): void {
  answers.set(readerOf(context).identity(context), { value });
}

/** Whether the interceptor will certainly run; otherwise the handler would, without a limit. */
export function canAnswerInstead(context: ExecutionContext, transport: Transport): boolean {
  return isBound(context.getHandler()) && transport.runsInterceptors(context);
}
