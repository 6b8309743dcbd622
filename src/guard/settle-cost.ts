import type { ExecutionContext } from '@nestjs/common';
import { ClientGoneError } from '../context/connection.js';
import type { DecisionSource } from '../core/decision.js';
import { logger } from '../observe/logger.js';
import type { Outcome } from '../policy/rate-limit.options.js';
import { type RequestTake, resolvedAmount } from '../policy/request-take.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { later } from '../util/clock.js';
import { chain, type MaybePromise } from '../util/maybe-promise.js';
import { formatError } from '../util/option-error.js';
import { endWaits } from './unstarted.js';

/** The calls of each store that are settling costs. */
const inFlight = new WeakMap<RateLimitStore, Set<Promise<void>>>();

/** Settles the cost of a request that has ended. */
export function settleCost(
  context: ExecutionContext,
  take: RequestTake,
  outcome: Outcome,
  store: RateLimitStore,
  source: DecisionSource,
): void {
  const call = settle(context, take, outcome, store, source);
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
  endWaits(store);
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
    const difference = { ...take, amount: Math.abs(real - take.amount), maxWait: 0 };
    await store.run({ verb, source, takes: [difference], retry: true });
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
