import { AMOUNT_PER_TOKEN } from './amount.js';
import { NEVER, ROW_HEAD, ROW_LIMIT, type Row } from './answer.js';
import {
  advance,
  type BucketState,
  balanceOf,
  cancel,
  forget,
  give,
  moreOf,
  resetOf,
  take,
  waitOf,
} from './bucket-state.js';
import type { Policy } from './policy.js';
import { replace } from './replace.js';
import type { StoreRequest } from './request.js';

/**
 * Carries `request` out on the states of its buckets (one per take; behind them, for `replace`, the state of the new
 * policy) and writes the answer into `row` (see `answer.ts`). This is what a decision is; the Lua script of the Redis
 * store is its twin, and both stores have shortcuts for plain takes, which tests hold against it. It reads no clock and
 * does no I/O. A state that it changed has `changed` set; the others need not be written back. For `estimate` nothing is
 * to be written back: the states end as `take` would have left them.
 */
export function execute(request: StoreRequest, states: readonly BucketState[], now: number, row: Row): void {
  const { verb, takes } = request;
  for (let i = 0; i < takes.length; i++) advance(takes[i].policy, states[i], now);
  if (verb === 'take' || verb === 'estimate') return decide(request, states, now, row);

  const [state, target] = states;
  const { policy, amount } = takes[0];
  let taken = 0;
  switch (verb) {
    case 'charge':
      taken = amount;
      take(policy, state, taken, 0);
      break;
    case 'takeUpTo':
      taken = state.blockedUntil > 0 ? 0 : Math.min(amount, wholeTokens(policy, state));
      if (taken > 0) take(policy, state, taken, 0);
      break;
    case 'put':
      for (let i = 0; i < takes.length; i++) give(takes[i].policy, states[i], takes[i].amount);
      break;
    case 'cancel':
      for (let i = 0; i < takes.length; i++) {
        cancel(takes[i].policy, states[i], takes[i].amount, request.actAt?.[i] ?? 0);
      }
      break;
    case 'block':
      state.blockedUntil = state.at + (request.duration ?? 0);
      state.changed = true;
      break;
    case 'unblock':
      state.changed = state.blockedUntil > 0;
      state.blockedUntil = 0;
      break;
    case 'replace':
      if (request.to && request.strategy) replace(policy, state, request.to, target, request.strategy);
      forget(state);
      state.changed = true;
      break;
    case 'reset':
      forget(state);
      state.changed = true;
      break;
  }
  head(row, true, 0, taken, now);
  let index = ROW_HEAD;
  for (let i = 0; i < takes.length; i++) {
    row[index] = 0;
    index = describe(takes[i].policy, states[i], now, true, 0, row, index + 1);
  }
}

/** `take` and `estimate`: from all or from none. */
function decide({ takes }: StoreRequest, states: readonly BucketState[], now: number, row: Row): void {
  let allowed = true;
  let delay = 0;
  let index = ROW_HEAD;
  for (let i = 0; i < takes.length; i++) {
    const { policy, amount, maxWait } = takes[i];
    const wait = longestWait(policy, states[i], amount, now);
    row[index] = wait;
    index += 1 + ROW_LIMIT * policy.limits.length;
    if (refuses(states[i], wait, maxWait)) allowed = false;
    else if (wait > delay) delay = wait;
  }
  head(row, allowed, allowed ? delay : 0, allowed ? takes[0].amount : 0, now);
  index = ROW_HEAD;
  for (let i = 0; i < takes.length; i++) {
    const { policy, amount, maxWait } = takes[i];
    const state = states[i];
    const wait = row[index];
    if (allowed) {
      if (amount > 0) take(policy, state, amount, wait > 0 ? wait - (state.at - now) : 0);
    } else if (policy.block > 0 && state.blockedUntil === 0 && refuses(state, wait, maxWait)) {
      state.blockedUntil = state.at + policy.block;
      state.changed = true;
    }
    if (wait === Infinity) row[index] = NEVER;
    index = describe(policy, state, now, !allowed, amount, row, index + 1);
  }
}

function refuses(state: BucketState, wait: number, maxWait: number): boolean {
  return state.blockedUntil > 0 || wait > maxWait || wait === Infinity;
}

/** Milliseconds from `now` until every limit lets `amount` pass. */
function longestWait(policy: Policy, state: BucketState, amount: number, now: number): number {
  let longest = 0;
  for (let i = 0; i < policy.limits.length; i++) {
    const wait = waitOf(policy.limits[i], state, i, amount);
    if (wait > longest) longest = wait;
  }
  return longest === 0 ? 0 : state.at - now + longest;
}

/** The whole tokens that every limit still has, as an amount. */
function wholeTokens(policy: Policy, state: BucketState): number {
  let least = Infinity;
  for (let i = 0; i < policy.limits.length; i++) {
    const limit = policy.limits[i];
    least = Math.min(least, balanceOf(limit, state, i) / limit.weight);
  }
  return Math.max(0, Math.floor(least / AMOUNT_PER_TOKEN)) * AMOUNT_PER_TOKEN;
}

function head(row: Row, allowed: boolean, delay: number, taken: number, now: number): void {
  row[0] = allowed ? 1 : 0;
  row[1] = delay;
  row[2] = taken;
  row[3] = now;
}

/** Writes how each limit stands; `retryAfter` is that of `amount`, or 0 if there is nothing to `retry`. */
function describe(
  policy: Policy,
  state: BucketState,
  now: number,
  retry: boolean,
  amount: number,
  row: Row,
  start: number,
): number {
  const ahead = state.at - now;
  const blocked = state.blockedUntil > 0 ? state.blockedUntil - now : 0;
  let index = start;
  for (let i = 0; i < policy.limits.length; i++) {
    const limit = policy.limits[i];
    const balance = balanceOf(limit, state, i);
    const wait = retry ? waitOf(limit, state, i, amount) : 0;
    const reset = resetOf(limit, state, i);
    row[index] = blocked > 0 ? Math.min(balance, 0) : balance;
    row[index + 1] = time(wait, ahead, retry ? blocked : 0);
    row[index + 2] = time(reset, ahead, blocked);
    row[index + 3] = time(moreOf(limit, state, i), ahead, blocked);
    index += ROW_LIMIT;
  }
  return index;
}

function time(ms: number, ahead: number, atLeast: number): number {
  if (ms === Infinity) return NEVER;
  return Math.max(ms === 0 ? 0 : ahead + ms, atLeast);
}
