import { type CallHandler, type ExecutionContext, HttpException } from '@nestjs/common';
import { type Observable, tap } from 'rxjs';
import { ClientGoneError, isDisconnected, onDisconnect, responseConnection } from '../context/connection.js';
import { readerOf } from '../context/readers.js';
import type { DecisionSource } from '../core/decision.js';
import { logger } from '../observe/logger.js';
import type { Outcome } from '../policy/rate-limit.options.js';
import { type RequestTake, resolvedAmount } from '../policy/request-take.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { later } from '../util/clock.js';
import { chain, type MaybePromise } from '../util/maybe-promise.js';
import { formatValue } from '../util/option-error.js';

/** An admitted request whose cost is settled when it ends, with its outcome as far as it is known. */
interface Settlement {
  value?: unknown;
  error?: unknown;
  /** Whether the handler is running. */
  running?: boolean;
  /** Settles the cost; later calls do nothing. */
  end(status: number): void;
  /** Whether the client disconnected while the handler was running: then the end of the handler counts. */
  disconnected?: boolean;
}

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
  if (settled.length === 0) return;
  const started = store.clock.now();
  let ended = false;
  const settlement: Settlement = {
    end(status) {
      if (ended) return;
      ended = true;
      if (settlement.disconnected) settlement.error ??= new ClientGoneError();
      const outcome: Outcome = {
        ...('value' in settlement && { value: settlement.value }),
        ...('error' in settlement && { error: settlement.error }),
        status: settlement.disconnected ? 499 : status,
        durationMs: store.clock.now() - started,
      };
      for (const take of settled) track(store, settle(context, take, outcome, store, source));
    },
  };
  const reader = readerOf(context);
  open.set(reader.identity(context), settlement);
  if (reader.endsWithResponse) endWithResponse(context, settlement);
}

/** The response closes after everything else: filters have set the status by then, and a stream has ended. */
function endWithResponse(context: ExecutionContext, settlement: Settlement): void {
  let stop = () => {};
  stop = onDisconnect(context, () => {
    stop();
    settlement.disconnected = isDisconnected(context);
    if (settlement.disconnected && settlement.running) return;
    settlement.end(responseConnection(context)?.statusCode ?? 200);
  });
}

/** Observes the outcome of a handler, if a cost is settled by it. */
export function observeOutcome(context: ExecutionContext, next: CallHandler): Observable<unknown> {
  const reader = readerOf(context);
  const settlement = open.get(reader.identity(context));
  if (!settlement) return next.handle();
  settlement.running = true;
  // Over HTTP the response ends the request, unless its client disconnected before the handler had finished.
  const finish = (status: number) => {
    settlement.running = false;
    if (settlement.disconnected || !reader.endsWithResponse) settlement.end(status);
  };
  return next.handle().pipe(
    tap({
      next: (value) => {
        settlement.value = value;
      },
      error: (error) => {
        settlement.error = error;
        finish(statusOf(error));
      },
      complete: () => finish(200),
      unsubscribe: () => {
        settlement.error ??= new ClientGoneError();
        finish(499);
      },
    }),
  );
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

/** Refunds an overestimate of the cost, or charges an underestimate. */
async function settle(
  context: ExecutionContext,
  take: RequestTake,
  outcome: Outcome,
  store: RateLimitStore,
  source: DecisionSource,
): Promise<void> {
  try {
    const real = await realAmount(context, take, outcome);
    if (real === take.amount) return;
    const verb = real < take.amount ? 'put' : 'charge';
    await store.run({ verb, source, takes: [{ ...take, amount: Math.abs(real - take.amount), maxWait: 0 }] });
  } catch (error) {
    // A user's function may throw anything, also `undefined`.
    const reason = error instanceof Error ? error.message : formatValue(error);
    logger.warn(`The cost of a request could not be settled: ${reason}`);
  }
}

function realAmount(context: ExecutionContext, take: RequestTake, outcome: Outcome): MaybePromise<number> {
  const { settle, policy } = take.requestPolicy;
  const failed = outcome.error !== undefined || outcome.status >= 400;
  if (settle === 'failures') return failed ? take.amount : 0;
  // A client that disconnects may have received what it wanted: otherwise disconnecting would avoid the cost.
  const disconnected = outcome.error instanceof ClientGoneError;
  if (settle === 'successes') return failed && !disconnected ? 0 : take.amount;
  if (!settle) return take.amount;
  return chain(settle(context, outcome), (cost) => resolvedAmount('settled cost', policy, cost));
}
