import { type CallHandler, type ExecutionContext, HttpException } from '@nestjs/common';
import { type Observable, tap } from 'rxjs';
import { ClientGoneError, isDisconnected, onResponseEnd, responseConnection } from '../context/connection.js';
import { readerOf } from '../context/readers.js';
import type { DecisionSource } from '../core/decision.js';
import { logger } from '../observe/logger.js';
import type { Outcome } from '../policy/rate-limit.options.js';
import { type RequestTake, resolvedAmount } from '../policy/request-take.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { later } from '../util/clock.js';
import { chain, type MaybePromise } from '../util/maybe-promise.js';
import { formatError } from '../util/option-error.js';

/** The settlements of admitted requests, by what guard and interceptor have in common. */
const open = new WeakMap<object, Settlement>();

/** The calls of each store that are settling costs. */
const inFlight = new WeakMap<RateLimitStore, Set<Promise<void>>>();

/** Settles the real cost of an admitted request when it has been answered, has failed, or its client disconnected. */
export function settleAtEnd(
  context: ExecutionContext,
  takes: readonly RequestTake[],
  store: RateLimitStore,
  source: DecisionSource,
): void {
  const settled = takes.filter(({ requestPolicy }) => requestPolicy.settle !== undefined);
  if (settled.length > 0) new Settlement(context, settled, store, source).start();
}

/** Observes the outcome of a handler, if a cost is settled by it. */
export function observeOutcome(context: ExecutionContext, next: CallHandler): Observable<unknown> {
  const settlement = open.get(readerOf(context).identity(context));
  return settlement ? settlement.observe(next) : next.handle();
}

/** An admitted request whose cost is settled when it ends, with its outcome as far as it is known. */
class Settlement {
  private value: { readonly value?: unknown } = {};
  private error: { readonly error?: unknown } = {};
  private hasStarted = false;
  private isRunning = false;
  private isOver = false;
  /** Whether the client disconnected while the handler was running: then the end of the handler counts. */
  private isDisconnected = false;
  private readonly started: number;
  private readonly endsWithResponse: boolean;
  private stopListening = () => {};

  constructor(
    private readonly context: ExecutionContext,
    private readonly takes: readonly RequestTake[],
    private readonly store: RateLimitStore,
    private readonly source: DecisionSource,
  ) {
    this.started = store.clock.now();
    const reader = readerOf(context);
    this.endsWithResponse = reader.endsWithResponse;
    open.set(reader.identity(context), this);
  }

  /** Ends with the response, which is over after everything else: filters have set the status, and a stream has ended. */
  start(): void {
    this.stopListening = onResponseEnd(this.context, () => this.responseEnded());
  }

  observe(next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      tap({
        subscribe: () => {
          // Again, if an interceptor retries.
          this.hasStarted = true;
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

  private responseEnded(): void {
    this.stopListening();
    const disconnected = isDisconnected(this.context);
    if (!this.endsWithResponse) {
      // All fields of a GraphQL query have ended: a later guard or a pipe has rejected those that have not started.
      if (this.hasStarted || disconnected) return;
      this.error = { error: new Error('The handler was not called') };
      return this.end(500);
    }
    this.isDisconnected = disconnected;
    if (this.isDisconnected && this.isRunning) return;
    this.end(responseConnection(this.context)?.statusCode ?? 200);
  }

  /** Over HTTP the response ends the request, unless its client disconnected before the handler had finished. */
  private handlerEnded(status: number): void {
    this.isRunning = false;
    if (this.isDisconnected || !this.endsWithResponse) this.end(status);
  }

  /** An interceptor has enough of the handler's values, or gave it up; or the client disconnected. */
  private handlerAbandoned(): void {
    if (!this.endsWithResponse) this.isDisconnected = isDisconnected(this.context);
    if (this.isDisconnected || 'value' in this.value) return this.handlerEnded(200);
    this.error = { error: new Error('The handler was abandoned before it returned a value') };
    this.handlerEnded(500);
  }

  /** Settles the cost; later calls do nothing. */
  private end(status: number): void {
    if (this.isOver) return;
    this.isOver = true;
    if (this.isDisconnected && this.error.error === undefined) this.error = { error: new ClientGoneError() };
    const outcome: Outcome = {
      ...this.value,
      ...this.error,
      status: this.isDisconnected ? 499 : status,
      durationMs: this.store.clock.now() - this.started,
    };
    for (const take of this.takes) track(this.store, settle(this.context, take, outcome, this.store, this.source));
  }
}

function statusOf(error: unknown): number {
  return error instanceof HttpException ? error.getStatus() : 500;
}

function track(store: RateLimitStore, call: Promise<void>): void {
  const calls = inFlight.get(store) ?? new Set();
  inFlight.set(store, calls.add(call));
  call.then(() => calls.delete(call));
}

/** ms after which a `settle` function that has not returned no longer delays the shutdown. */
const SHUTDOWN_TIMEOUT = 2000;

/** Waits until the costs of all requests that have ended are settled; after this the store may be closed. */
export async function settlementsDone(store: RateLimitStore): Promise<void> {
  // Sockets emit `close` up to two turns of the event loop after the server that waited for them.
  for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate);
  const calls = inFlight.get(store);
  if (!calls?.size) return;
  await Promise.race([Promise.all(calls), new Promise<void>((resolve) => later(SHUTDOWN_TIMEOUT, resolve))]);
}

/** Refunds an overestimate of the cost, or charges an underestimate; either way the take can no longer be refunded. */
async function settle(
  context: ExecutionContext,
  take: RequestTake,
  outcome: Outcome,
  store: RateLimitStore,
  source: DecisionSource,
): Promise<void> {
  try {
    const real = await realAmount(context, take, outcome);
    if (real === take.amount && take.mark === undefined) return;
    const verb = real < take.amount ? 'put' : 'charge';
    await store.run({ verb, source, takes: [{ ...take, amount: Math.abs(real - take.amount), maxWait: 0 }] });
  } catch (error) {
    logger.warn(`Policy ${take.policy.name}: the cost of a request could not be settled: ${formatError(error)}`);
  }
}

function realAmount(context: ExecutionContext, take: RequestTake, outcome: Outcome): MaybePromise<number> {
  const { settle, policy } = take.requestPolicy;
  // Not by the error: an interceptor or a filter of the user's may have recovered from it.
  const failed = outcome.status >= 400;
  if (settle === 'failures') return failed ? take.amount : 0;
  // A client that disconnects may have received what it wanted: otherwise disconnecting would avoid the cost.
  const disconnected = outcome.error instanceof ClientGoneError;
  if (settle === 'successes') return failed && !disconnected ? 0 : take.amount;
  if (!settle) return take.amount;
  return chain(settle(context, outcome), (cost) => resolvedAmount('settled cost', policy, cost));
}
