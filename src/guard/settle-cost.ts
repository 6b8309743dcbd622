import type { ExecutionContext } from '@nestjs/common';
import { ClientGoneError } from '../context/connection.js';
import type { DecisionSource } from '../core/decision.js';
import { type Amounts, amountFor, type Verb } from '../core/request.js';
import { logger } from '../observe/logger.js';
import type { Outcome, SettleOption } from '../policy/rate-limit.options.js';
import { type RequestTake, resolvedAmount } from '../policy/request-take.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { later } from '../util/clock.js';
import { formatError } from '../util/option-error.js';
import { endWaits } from './unstarted.js';

/** The calls of each store that are settling costs. */
const inFlight = new WeakMap<RateLimitStore, Set<Promise<void>>>();

/** What a handler has reported for each limit. */
type Reported = readonly (number | undefined)[];

/** Settles the cost of a request that has ended. Resolves with the real amount for each limit, once it is known. */
export function settleCost(
  context: ExecutionContext,
  take: RequestTake,
  outcome: Outcome,
  reported: Reported,
  store: RateLimitStore,
  source: DecisionSource,
): Promise<number[]> {
  const real = realAmounts(context, take, outcome, reported);
  countCall(
    store,
    real.then((amounts) => settle(take, amounts, store, source)),
  );
  return real;
}

/** Charges by how much `reported` exceeds `settled`, which it raises. */
export function chargeLateReport(
  take: RequestTake,
  settled: Promise<number[]>,
  reported: Reported,
  store: RateLimitStore,
  source: DecisionSource,
): void {
  const call = settled.then(async (amounts) => {
    const deficit = toAmounts(amounts.map((amount, i) => Math.max(0, (reported[i] ?? 0) - amount)));
    for (let i = 0; i < amounts.length; i++) amounts[i] = Math.max(amounts[i], reported[i] ?? 0);
    if (deficit.amount > 0) await correct('charge', take, deficit, undefined, store, source);
  });
  countCall(
    store,
    call.catch((error) => warnOfCost(take, error)),
  );
}

function countCall(store: RateLimitStore, call: Promise<void>): void {
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

/** Refunds overestimates of the costs, and charges underestimates; either way the take can no longer be refunded. */
async function settle(
  take: RequestTake,
  real: readonly number[],
  store: RateLimitStore,
  source: DecisionSource,
): Promise<void> {
  const excess = toAmounts(real.map((amount, i) => Math.max(0, amountFor(take, i) - amount)));
  const deficit = toAmounts(real.map((amount, i) => Math.max(0, amount - amountFor(take, i))));
  const { mark } = take;
  try {
    // Without the mark, which a charge ends and the refund needs.
    if (excess.amount > 0 && deficit.amount > 0) await correct('charge', take, deficit, undefined, store, source);
    if (excess.amount > 0) await correct('put', take, excess, mark, store, source);
    else if (deficit.amount > 0 || mark !== undefined) await correct('charge', take, deficit, mark, store, source);
  } catch (error) {
    warnOfCost(take, error);
  }
}

async function correct(
  verb: Verb,
  take: RequestTake,
  amounts: Amounts,
  mark: number | undefined,
  store: RateLimitStore,
  source: DecisionSource,
): Promise<void> {
  await store.run({ verb, source, takes: [{ ...take, ...amounts, mark, maxWait: 0 }], retry: true });
}

function toAmounts(amounts: readonly number[]): Amounts {
  const amount = Math.max(...amounts);
  return { amount, amounts: amounts.every((one) => one === amount) ? undefined : amounts, checks: undefined };
}

/** The real amount for each limit. Limits with the same function share its result; if it fails, their estimates stay. */
function realAmounts(
  context: ExecutionContext,
  take: RequestTake,
  outcome: Outcome,
  reported: Reported,
): Promise<number[]> {
  const resolved = new Map<SettleOption, Promise<number | undefined>>();
  const realAmount = async (settle: SettleOption | undefined, taken: number): Promise<number> => {
    if (typeof settle !== 'function') return amountOfOutcome(settle, taken, outcome);
    const real = resolved.get(settle) ?? resolveAmount(settle, context, take, outcome);
    resolved.set(settle, real);
    return (await real) ?? taken;
  };
  const { costs } = take.requestPolicy;
  return Promise.all(costs.map(({ settle }, i) => reported[i] ?? realAmount(settle, amountFor(take, i))));
}

async function resolveAmount(
  settle: Exclude<SettleOption, string>,
  context: ExecutionContext,
  take: RequestTake,
  outcome: Outcome,
): Promise<number | undefined> {
  try {
    return resolvedAmount('settled cost', take.policy.name, await settle(context, outcome));
  } catch (error) {
    warnOfCost(take, error);
  }
}

function amountOfOutcome(settle: 'failures' | 'successes' | undefined, taken: number, outcome: Outcome): number {
  // Not by the error: an interceptor or a filter of the user's may have recovered from it.
  const failed = outcome.status >= 400;
  if (settle === 'failures') return failed ? taken : 0;
  // A client that disconnects may have received what it wanted: otherwise disconnecting would avoid the cost.
  const disconnected = outcome.error instanceof ClientGoneError;
  return settle === 'successes' && failed && !disconnected ? 0 : taken;
}

function warnOfCost({ policy }: RequestTake, error: unknown): void {
  logger.warn(`Policy ${policy.name}: the cost of a request could not be settled: ${formatError(error)}`);
}
