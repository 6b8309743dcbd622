import type { CallHandler, ExecutionContext, NestInterceptor, OnModuleDestroy } from '@nestjs/common';
import { catchError, concatMap, map, Observable, of, throwError } from 'rxjs';
import { ClientGoneError, whenGone } from '../context/connection.js';
import { type Clock, systemClock } from '../util/clock.js';
import { isPromise } from '../util/maybe-promise.js';
import { OpenSuspensions } from './open-suspensions.js';
import { SuspendableContext } from './suspendable.context.js';

/** What the handler came to. */
export type ResponseOutcome = { readonly value: unknown } | { readonly error: unknown };

/** What a suspendable interceptor sees: the context of the request, and the outcome, which it can replace. */
export class SuspendableResponseContext extends SuspendableContext {
  /** @internal */
  constructor(
    execution: ExecutionContext,
    open: OpenSuspensions,
    private outcomeNow: ResponseOutcome,
  ) {
    super(execution, open);
  }

  /** What will be answered. */
  get answer(): ResponseOutcome {
    return this.outcomeNow;
  }

  /** Answers with another value or error; also while suspended. */
  replace(outcome: ResponseOutcome): void {
    this.outcomeNow = outcome;
  }
}

/**
 * The response side of `SuspendableGuard`: the subclass writes `filterResponse`, which sees what the handler came to,
 * may `context.replace` it, and may suspend, resume and fail in the same way. It also sees errors, and a client that
 * went away before there was an outcome (`error` is a `ClientGoneError`). Of a stream it sees each value.
 *
 * Other than in RESTEasy, an error that it fails with late goes to Nest's exception filters like any other.
 */
export abstract class SuspendableInterceptor implements NestInterceptor, OnModuleDestroy {
  private readonly open: OpenSuspensions;

  constructor(clock: Clock = systemClock) {
    this.open = new OpenSuspensions(clock);
  }

  /** Sees what the handler came to; replaces it, suspends, or does nothing. */
  protected abstract filterResponse(
    context: SuspendableResponseContext,
    outcome: ResponseOutcome,
  ): void | Promise<void>;

  intercept(execution: ExecutionContext, next: CallHandler): Observable<unknown> {
    return new Observable((subscriber) => {
      let told = false;
      let gone = false;
      const tell = (outcome: ResponseOutcome) => {
        told = true;
        return this.filtered(execution, outcome);
      };
      const stop = whenGone(execution, () => {
        // Nobody is there to be answered: the filter is told once, and what it says goes nowhere.
        if (told) return;
        gone = true;
        tell({ error: new ClientGoneError() }).subscribe({ error: () => {} });
      });
      const subscription = next
        .handle()
        .pipe(
          map((value): ResponseOutcome => ({ value })),
          catchError((error) => of<ResponseOutcome>({ error })),
          concatMap((outcome) => (gone ? unfiltered(outcome) : tell(outcome))),
        )
        .subscribe(subscriber);
      return () => {
        stop();
        subscription.unsubscribe();
      };
    });
  }

  /** Ends all its suspensions with 503. */
  onModuleDestroy(): void {
    this.open.close();
  }

  private filtered(execution: ExecutionContext, outcome: ResponseOutcome): Observable<unknown> {
    return new Observable((subscriber) => {
      const context = new SuspendableResponseContext(execution, this.open, outcome);
      const answer = () => {
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
        const ended = isPromise(done) ? context.outcomeOf(done) : context.outcome();
        if (ended) ended.then(answer, fail);
        else answer();
      } catch (error) {
        fail(error);
      }
    });
  }
}

function unfiltered(outcome: ResponseOutcome): Observable<unknown> {
  return 'error' in outcome ? throwError(() => outcome.error) : of(outcome.value);
}
