import { type CallHandler, type ExecutionContext, type NestInterceptor, UseInterceptors } from '@nestjs/common';
import { isObservable, type Observable, of } from 'rxjs';
import type { Handler } from '../policy/explorer.js';
import { identityOf, remembered } from './settlement.js';

/** What `onLimited` has said. It stays, because an interceptor such as one with `retry` may ask more than once. */
const answers = new WeakMap<object, { readonly value: unknown }>();

/** Stands around a handler: answers instead of it, or remembers what it comes to. */
class RateLimitInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const answer = answers.get(identityOf(context));
    if (!answer) return remembered(context, next);
    return isObservable(answer.value) ? answer.value : of(answer.value);
  }
}

const interceptor = new RateLimitInterceptor();
const bound = new WeakSet<Handler>();

/** Binds the interceptor, once and next to the handler, so that the user's interceptors see what it answers. */
export function bindInterceptor(handler: Handler): void {
  if (bound.has(handler)) return;
  bound.add(handler);
  UseInterceptors(interceptor)(handler);
}

/** Lets a request pass whose handler will not run: `value` is answered instead. */
export function answerInstead(context: ExecutionContext, value: unknown): void {
  answers.set(identityOf(context), { value });
}

/** Whether the interceptor is sure to run; or else the handler would, and without a limit. */
export function canAnswerInstead(context: ExecutionContext): boolean {
  if (!bound.has(context.getHandler())) return false;
  const type = context.getType<string>();
  if (type !== 'graphql') return type === 'http' || type === 'ws' || type === 'rpc';
  // Fields of objects may be guarded without interceptors: see `fieldResolverEnhancers`.
  const info = context.getArgByIndex<{ path?: { prev?: unknown } } | undefined>(3);
  return info?.path !== undefined && info.path.prev === undefined;
}
