import { type CallHandler, type ExecutionContext, HttpException } from '@nestjs/common';
import { map, type Observable, tap } from 'rxjs';
import {
  ClientGoneError,
  isDisconnected,
  onDisconnect,
  onResponseEnd,
  responseConnection,
} from '../context/connection.js';
import { readerOf } from '../context/readers.js';
import { toDecision } from '../core/answer.js';
import type { StoreAnswer } from '../core/decision.js';
import { type AdmittedRequest, provideParameters } from '../policy/handler-parameters.js';
import type { Plan } from '../policy/plan.js';
import type { Outcome } from '../policy/rate-limit.options.js';
import type { RequestTake } from '../policy/request-take.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { observeSubscription } from './observed-subscription.js';
import { ReportedCosts } from './reported-costs.js';
import { chargeLateReport, settleCost } from './settle-cost.js';
import { whenNotStarted } from './unstarted.js';

/**
 * An admitted request whose cost is settled when it ends. Value and error of its outcome are those of the handler, when
 * it was called last; its status is that of the answer: the response over HTTP, and elsewhere what leaves the
 * interceptors.
 */
export class Settlement {
  private readonly reported: ReportedCosts;
  /** For each take the settled amount of each limit, once the request has ended. */
  private settled: readonly Promise<number[]>[] = [];
  private value: { readonly value?: unknown } = {};
  private error: { readonly error?: unknown } = {};
  private hasStarted = false;
  private isRunning = false;
  private isOver = false;
  /** The status of a response that ended while a handler was running that may still report its cost. */
  private endedWith: number | undefined;
  /** Whether the client disconnected while the handler was running: then the end of the handler counts. */
  private isDisconnected = false;
  private hasAnswerObserver = false;
  /** Whether the answer is the iterator of a GraphQL subscription. */
  private isSubscribed = false;
  private readonly started: number;
  private readonly endsWithResponse: boolean;
  private stopListening = () => {};
  private stopWaiting = () => {};
  private withdrawParameters = () => {};

  constructor(
    private readonly context: ExecutionContext,
    private readonly plan: Plan,
    private readonly takes: readonly RequestTake[],
    private readonly store: RateLimitStore,
    private readonly answer: StoreAnswer,
  ) {
    this.reported = new ReportedCosts(takes, plan);
    this.started = store.clock.now();
    this.endsWithResponse = readerOf(context).endsWithResponse;
  }

  /** Ends with the response, which is over after everything else: filters have set the status, and a stream has ended. */
  start(): void {
    if (responseConnection(this.context)) {
      this.stopListening = onResponseEnd(this.context, () => this.responseEnded());
    } else {
      this.stopWaiting = whenNotStarted(this.store, () => this.notCalled());
      this.stopListening = onDisconnect(this.context, () => this.clientLeft());
    }
  }

  observeHandler(next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      tap({
        subscribe: () => {
          // Again, if an interceptor retries.
          this.startHandling();
          this.provideParameters();
          this.isRunning = true;
          this.value = {};
          this.error = {};
        },
        next: (value) => {
          this.value = { value };
        },
        error: (error) => {
          this.error = { error };
          this.handlerEnded(statusOf(error));
        },
        complete: () => this.handlerEnded(200),
        unsubscribe: () => this.handlerAbandoned(),
      }),
    );
  }

  observeAnswer(next: CallHandler): Observable<unknown> {
    if (this.endsWithResponse) return next.handle();
    this.hasAnswerObserver = true;
    let hasValue = false;
    return next.handle().pipe(
      map((value) => {
        hasValue = true;
        return this.observeValues(value);
      }),
      tap({
        subscribe: () => this.startHandling(),
        error: (error) => this.answered(statusOf(error)),
        complete: () => this.handled(200),
        unsubscribe: () => this.handled(hasValue ? 200 : 500),
      }),
    );
  }

  /** A GraphQL subscription ends with its values, of which the last one counts. */
  private observeValues(answer: unknown): unknown {
    const iterator = observeSubscription(this.context, answer, {
      value: (value) => {
        this.value = { value };
      },
      end: (failure) => {
        if (failure) this.error = failure;
        // A client that leaves ends its subscription.
        this.end(failure ? statusOf(failure.error) : 200);
      },
    });
    if (!iterator) return answer;
    this.isSubscribed = true;
    this.value = {};
    return iterator;
  }

  private handled(status: number): void {
    if (!this.isSubscribed) this.answered(status);
  }

  private report(total: number, limit: string | undefined): void {
    this.reported.report(total, limit);
    for (const [i, amounts] of this.settled.entries()) {
      chargeLateReport(this.takes[i], amounts, this.reported.of(this.takes[i]), this.store, this.answer.source);
    }
  }

  private provideParameters(): void {
    const { length } = this.plan.parameters;
    this.withdrawParameters();
    if (length === 0) return;
    const request: AdmittedRequest = {
      decision: toDecision(this.answer),
      report: (total, limit) => this.report(total, limit),
    };
    this.withdrawParameters = provideParameters(this.context.getArgs(), request, length);
  }

  private startHandling(): void {
    this.hasStarted = true;
    this.stopWaiting();
  }

  private clientLeft(): void {
    if (this.isSubscribed) return this.end(200);
    if (this.hasStarted) return;
    this.isDisconnected = true;
    this.end(499);
  }

  private responseEnded(): void {
    this.stopListening();
    const disconnected = isDisconnected(this.context);
    if (!this.endsWithResponse) {
      if (this.isSubscribed) return this.end(200);
      if (this.hasStarted) return;
      // All fields of a GraphQL query have ended: a later guard or a pipe has rejected those that have not started.
      return disconnected ? this.clientLeft() : this.notCalled();
    }
    this.isDisconnected = disconnected;
    const status = responseConnection(this.context)?.statusCode ?? 200;
    if (this.isRunning && (disconnected || this.plan.parameters.includes('cost'))) this.endedWith = status;
    else this.end(status);
  }

  private notCalled(): void {
    this.error = { error: new Error('The handler was not called') };
    this.end(500);
  }

  /** Over HTTP the response ends the request, unless it has waited for the handler. */
  private handlerEnded(status: number): void {
    this.isRunning = false;
    this.withdrawParameters();
    if (this.endsWithResponse) {
      if (this.endedWith !== undefined) this.end(this.endedWith);
    } else if (!this.hasAnswerObserver) {
      this.answered(status);
    }
  }

  /** An interceptor has enough of the handler's values, or gave it up; or the client disconnected. */
  private handlerAbandoned(): void {
    const disconnected = this.endsWithResponse ? this.isDisconnected : isDisconnected(this.context);
    if (disconnected || this.isSubscribed || 'value' in this.value) return this.handlerEnded(200);
    this.error = { error: new Error('The handler was abandoned before it returned a value') };
    this.handlerEnded(500);
  }

  /** Ends a request without a response of its own. */
  private answered(status: number): void {
    this.isDisconnected = isDisconnected(this.context);
    this.end(status);
  }

  /** Settles the cost; later calls do nothing. */
  private end(status: number): void {
    if (this.isOver) return;
    this.isOver = true;
    this.stopWaiting();
    this.stopListening();
    if (this.isDisconnected && this.error.error === undefined) this.error = { error: new ClientGoneError() };
    const outcome: Outcome = {
      ...this.value,
      ...this.error,
      status: this.isDisconnected ? 499 : status,
      durationMs: this.store.clock.now() - this.started,
    };
    const { context, store, reported, answer } = this;
    this.settled = this.takes.map((take) =>
      settleCost(context, take, outcome, reported.of(take), store, answer.source),
    );
  }
}

function statusOf(error: unknown): number {
  return error instanceof HttpException ? error.getStatus() : 500;
}
