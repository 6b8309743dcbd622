import { type CallHandler, type ExecutionContext, HttpException, Logger } from '@nestjs/common';
import { type Observable, tap } from 'rxjs';
import { ClientGoneError, connectionOf, isGone, whenGone } from '../context/connection.js';
import { requestOf } from '../context/http.js';
import type { DecisionSource } from '../core/decision.js';
import type { Outcome } from '../policy/rate-limit.options.js';
import { amountTold, type PlannedTake } from '../policy/request-take.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { later } from '../util/clock.js';
import { chain, type MaybePromise } from '../util/maybe-promise.js';
import { show } from '../util/option-error.js';

/** What a request came to, as far as it is known yet. */
interface Pending {
  value?: unknown;
  error?: unknown;
  /** The handler runs. */
  running?: boolean;
  /** What to do when it is over; not called twice. */
  end(status: number): void;
  /** The client has gone, but not the handler: its end is the request's. */
  left?: boolean;
}

const pending = new WeakMap<object, Pending>();

/** What is being settled in each store. */
const underWay = new WeakMap<RateLimitStore, Set<Promise<void>>>();

/** Settles the real cost of an admitted request when it has been answered, failed, or was left by its client. */
export function settleLater(
  context: ExecutionContext,
  takes: readonly PlannedTake[],
  store: RateLimitStore,
  source: DecisionSource,
): void {
  const settled = takes.filter(({ use }) => use.settle !== undefined);
  if (settled.length === 0) return;
  const started = store.clock.now();
  let over = false;
  const known: Pending = {
    end(status) {
      if (over) return;
      over = true;
      if (known.left) known.error ??= new ClientGoneError();
      const outcome: Outcome = {
        ...('value' in known && { value: known.value }),
        ...('error' in known && { error: known.error }),
        status: known.left ? 499 : status,
        durationMs: store.clock.now() - started,
      };
      for (const take of settled) note(store, settle(context, take, outcome, store, source));
    },
  };
  pending.set(identityOf(context), known);
  if (context.getType() !== 'http') return;
  // The response closes after whatever came first: filters have set the status by then, and a stream has ended.
  let stop = () => {};
  stop = whenGone(context, () => {
    stop();
    known.left = isGone(context);
    if (known.left && known.running) return;
    known.end((connectionOf(context) as { statusCode?: number } | undefined)?.statusCode ?? 200);
  });
}

/** Remembers what a handler comes to, if there is something to be settled by it. */
export function remembered(context: ExecutionContext, next: CallHandler): Observable<unknown> {
  const known = pending.get(identityOf(context));
  if (!known) return next.handle();
  known.running = true;
  // Over HTTP the response tells the end, unless its client has gone before the handler was done.
  const done = (status: number) => {
    known.running = false;
    if (known.left || context.getType() !== 'http') known.end(status);
  };
  return next.handle().pipe(
    tap({
      next: (value) => {
        known.value = value;
      },
      error: (error) => {
        known.error = error;
        done(statusOf(error));
      },
      complete: () => done(200),
      unsubscribe: () => {
        known.error ??= new ClientGoneError();
        done(499);
      },
    }),
  );
}

/** What guard and interceptor of one call have in common: the request (HTTP) or the arguments (other transports). */
export function identityOf(context: ExecutionContext): object {
  return context.getType() === 'http' ? requestOf<object>(context) : context.getArgs();
}

function note(store: RateLimitStore, settlement: Promise<void>): void {
  const all = underWay.get(store) ?? new Set();
  underWay.set(store, all.add(settlement));
  settlement.then(() => all.delete(settlement));
}

/** ms after which a function of the user's that tells no cost is given up, so that the application can close. */
const PATIENCE = 2000;

/** Waits until all is settled of the requests that are over; after this the store may be closed. */
export async function allSettled(store: RateLimitStore): Promise<void> {
  // A socket tells that it has closed up to two turns of the event loop after the server that waited for it.
  for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate);
  const all = underWay.get(store);
  if (all?.size) await Promise.race([Promise.all(all), new Promise<void>((resolve) => later(PATIENCE, resolve))]);
}

function statusOf(error: unknown): number {
  return error instanceof HttpException ? error.getStatus() : 500;
}

const logger = new Logger('RateLimit');

/** Gives back what was taken too much, or charges what was taken too little. */
async function settle(
  context: ExecutionContext,
  take: PlannedTake,
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
    // Anything may be thrown, also nothing.
    const told = error instanceof Error ? error.message : show(error);
    logger.warn(`The cost of a request could not be settled: ${told}`);
  }
}

function realAmount(context: ExecutionContext, take: PlannedTake, outcome: Outcome): MaybePromise<number> {
  const { use } = take;
  const failed = outcome.error !== undefined || outcome.status >= 400;
  if (use.settle === 'failures') return failed ? take.amount : 0;
  // Who leaves early may have had what was asked for; or else leaving would be free, and with it the limit.
  const left = outcome.error instanceof ClientGoneError;
  if (use.settle === 'successes') return failed && !left ? 0 : take.amount;
  if (!use.settle) return take.amount;
  return chain(use.settle(context, outcome), (cost) => amountTold('settled cost', use.policy, cost));
}
