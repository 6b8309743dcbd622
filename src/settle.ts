import { type CallHandler, type ExecutionContext, HttpException, Logger, type NestInterceptor } from '@nestjs/common';
import { type Observable, tap } from 'rxjs';
import type { DecisionSource } from './core/decision.js';
import { chain } from './maybe-promise.js';
import { amountTold, type PlannedTake } from './policy-use.js';
import type { MaybePromise, Outcome } from './rate-limit.options.js';
import type { RateLimitStore } from './stores/rate-limit.store.js';
import { ClientGoneError, connectionOf, isGone } from './suspend/client.js';
import { requestOf } from './suspend/http.js';

/** What a request came to, as far as it is known yet, and what to do when it is over. */
interface Pending {
  value?: unknown;
  error?: unknown;
  end?: (status: number) => void;
}

/** By request (HTTP) or by arguments (other transports), which guard and interceptor of one call have in common. */
const pending = new WeakMap<object, Pending>();

/** Settles the real cost of an admitted request when it has been answered, failed, or was left by its client. */
export function settleLater(
  context: ExecutionContext,
  takes: readonly PlannedTake[],
  store: RateLimitStore,
  source: DecisionSource,
): void {
  const settled = takes.filter(({ use }) => use.settle !== undefined);
  const started = store.clock.now();
  const known: Pending = {};
  pending.set(identityOf(context), known);
  const end = (status: number) => {
    const outcome = { ...known, end: undefined, status, durationMs: store.clock.now() - started };
    for (const take of settled) void settle(context, take, outcome, store, source);
  };
  const connection = context.getType() === 'http' ? connectionOf(context) : undefined;
  if (!connection) {
    known.end = end;
    return;
  }
  // The response closes after whatever came first: filters have set the status by then, and a stream has ended.
  connection.once('close', () => {
    if (isGone(context)) known.error ??= new ClientGoneError();
    end(isGone(context) ? 499 : ((connection as { statusCode?: number }).statusCode ?? 200));
  });
}

/** Remembers what a handler came to; bound by `@RateLimit` to what has a `settle`. */
export class SettleInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const known = pending.get(identityOf(context));
    if (!known) return next.handle();
    let over = false;
    const end = (status: number) => {
      if (!over) known.end?.(status);
      over = true;
    };
    return next.handle().pipe(
      tap({
        next: (value) => {
          known.value = value;
        },
        error: (error) => {
          known.error = error;
          end(statusOf(error));
        },
        complete: () => end(200),
        unsubscribe: () => {
          known.error ??= new ClientGoneError();
          end(499);
        },
      }),
    );
  }
}

function identityOf(context: ExecutionContext): object {
  return context.getType() === 'http' ? requestOf<object>(context) : context.getArgs();
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
    logger.warn(`The cost of a request could not be settled: ${(error as Error).message}`);
  }
}

function realAmount(context: ExecutionContext, take: PlannedTake, outcome: Outcome): MaybePromise<number> {
  const { use } = take;
  const failed = outcome.error !== undefined || outcome.status >= 400;
  if (use.settle === 'failures') return failed ? take.amount : 0;
  if (use.settle === 'successes') return failed ? 0 : take.amount;
  if (!use.settle) return take.amount;
  return chain(use.settle(context, outcome), (cost) => amountTold('settled cost', use.policy, cost));
}
