import type { CallHandler, ExecutionContext } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { readerOf } from '../context/readers.js';
import type { StoreAnswer } from '../core/decision.js';
import type { Plan } from '../policy/plan.js';
import type { RequestTake } from '../policy/request-take.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { Settlement } from './settlement.js';

/** The settlements of admitted requests, by what guard and interceptor have in common. */
const open = new WeakMap<object, Settlement>();

/**
 * Settles the real cost of an admitted request when it has been answered, has failed, or its client disconnected, and
 * provides the injected parameters of its handler.
 */
export function track(
  context: ExecutionContext,
  plan: Plan,
  takes: readonly RequestTake[],
  store: RateLimitStore,
  answer: StoreAnswer,
): void {
  if (plan.parameters.length === 0 && !takes.some(isSettled)) return;
  const settled = takes.filter(isSettled);
  const settlement = new Settlement(context, plan, settled, store, answer);
  open.set(readerOf(context).identity(context), settlement);
  if (settled.length > 0) settlement.start();
}

function isSettled({ requestPolicy }: RequestTake): boolean {
  return requestPolicy.isSettled;
}

/** Observes a handler, behind all interceptors, if a cost is settled by it. */
export function observeHandler(context: ExecutionContext, next: CallHandler): Observable<unknown> {
  const settlement = open.get(readerOf(context).identity(context));
  return settlement ? settlement.observeHandler(next) : next.handle();
}

/** Observes the answer to a request without a response of its own, in front of the interceptors of the class. */
export function observeAnswer(context: ExecutionContext, next: CallHandler): Observable<unknown> {
  const settlement = open.get(readerOf(context).identity(context));
  return settlement ? settlement.observeAnswer(next) : next.handle();
}
