import type { CallHandler, ExecutionContext, NestInterceptor, OnModuleDestroy } from '@nestjs/common';
import { catchError, concatMap, map, Observable, of, throwError } from 'rxjs';
import { ClientGoneError, onDisconnect } from '../context/connection.js';
import { type Clock, systemClock } from '../util/clock.js';
import { isPromise } from '../util/maybe-promise.js';
import { OpenSuspensions } from './open-suspensions.js';
import { SuspendableContext } from './suspendable.context.js';

/** The outcome of a handler: the value it returned or the error it threw. */
export type ResponseOutcome = { readonly value: unknown } | { readonly error: unknown };

/** The context of a request in a `SuspendableInterceptor`. The interceptor can suspend it and replace its outcome. */
export class SuspendableResponseContext extends SuspendableContext {
  /** @internal */
  constructor(
    execution: ExecutionContext,
    open: OpenSuspensions,
    private currentOutcome: ResponseOutcome,
  ) {
    super(execution, open);
  }

  /** The outcome that will be sent to the client. */
  get answer(): ResponseOutcome {
    return this.currentOutcome;
  }

  /** Replaces the outcome with another value or error. Also works while the request is suspended. */
  replace(outcome: ResponseOutcome): void {
    this.currentOutcome = outcome;
  }
}

/**
 * Base class of interceptors that can suspend a response: the counterpart of `SuspendableGuard`.
 *
 * A subclass implements `filterResponse`. It receives the outcome of the handler, can replace it with
 * `context.replace`, and can suspend, resume or fail the request. It is also called for errors, for each value of a
 * stream, and if the client disconnects before there is an outcome (`error` is a `ClientGoneError`).
 *
 * Unlike in RESTEasy, an error passed to `fail` after the suspension reaches Nest's exception filters.
 */
export abstract class SuspendableInterceptor implements NestInterceptor, OnModuleDestroy {
  private readonly open: OpenSuspensions;

  /** @param clock The clock for timeouts; default: the system clock. Tests can pass a `FakeClock`. */
  constructor(clock: Clock = systemClock) {
    this.open = new OpenSuspensions(clock);
  }

  /** Receives the outcome of the handler. Returns to send it, or replaces it or suspends the request first. */
  protected abstract filterResponse(
    context: SuspendableResponseContext,
    outcome: ResponseOutcome,
  ): void | Promise<void>;

  /** Runs the handler and calls `filterResponse` with its outcome. */
  intercept(execution: ExecutionContext, next: CallHandler): Observable<unknown> {
    return new Observable((subscriber) => {
      let filterCalled = false;
      let disconnected = false;
      const callFilter = (outcome: ResponseOutcome) => {
        filterCalled = true;
        return this.filtered(execution, outcome);
      };
      const stop = onDisconnect(execution, () => {
        // No response can be sent any more: the filter runs once, and its result is ignored.
        if (filterCalled) return;
        disconnected = true;
        callFilter({ error: new ClientGoneError() }).subscribe({ error: () => {} });
      });
      const subscription = next
        .handle()
        .pipe(
          map((value): ResponseOutcome => ({ value })),
          catchError((error) => of<ResponseOutcome>({ error })),
          concatMap((outcome) => (disconnected ? unfiltered(outcome) : callFilter(outcome))),
        )
        .subscribe(subscriber);
      return () => {
        stop();
        subscription.unsubscribe();
      };
    });
  }

  /** Fails all open suspensions of this interceptor with status 503. */
  onModuleDestroy(): void | Promise<void> {
    return this.open.close();
  }

  private filtered(execution: ExecutionContext, outcome: ResponseOutcome): Observable<unknown> {
    return new Observable((subscriber) => {
      const context = new SuspendableResponseContext(execution, this.open, outcome);
      const send = () => {
        if ('error' in context.answer) return subscriber.error(context.answer.error);
        subscriber.next(context.answer.value);
        subscriber.complete();
      };
      const fail = (error: unknown) => {
        context.discard(error);
        subscriber.error(error);
      };
      try {
        const done = this.filterResponse(context, outcome);
        const pending = isPromise(done) ? context.outcomeOf(done) : context.outcome();
        if (pending) pending.then(send, fail);
        else send();
      } catch (error) {
        fail(error);
      }
    });
  }
}

function unfiltered(outcome: ResponseOutcome): Observable<unknown> {
  return 'error' in outcome ? throwError(() => outcome.error) : of(outcome.value);
}
