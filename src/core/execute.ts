import type { BucketState, Limit } from './algorithms/algorithm.js';
import { isSoft } from './algorithms/soft.js';
import { AMOUNT_PER_TOKEN } from './amount.js';
import { NEVER, ROW_HEAD, ROW_LIMIT, type Row } from './answer.js';
import { advance, cancel, clear, refund, take } from './bucket-state.js';
import { dropMark } from './marks.js';
import type { Policy } from './policy.js';
import { replace } from './replace.js';
import { type Amounts, neededFrom, type StoreRequest, type Take, type Verb } from './request.js';
import type { HolderMessage } from './slot-holder.js';
import { awaitSlots, checkHolders, hold, lacksSlot, offerFreeSlots, reportCounts, takeSlotOf } from './slots.js';

/**
 * Executes `request` on the states of its buckets (one per take, followed, for `replace`, by the state of the new
 * policy) and writes the answer into `row` (see `answer.ts`). This is the only decision procedure: the Lua script of
 * the Redis store is its twin, and both stores have fast paths for plain takes, which tests compare with it. It reads no
 * clock and does no I/O. Save only states that have
 * `changed` set. After `estimate`, discard all of them: they are left as `take` would leave them.
 */
export function execute(request: StoreRequest, states: readonly BucketState[], now: number, row: Row): void {
  const { verb, takes } = request;
  checkHolders(request);
  for (let i = 0; i < takes.length; i++) {
    advance(takes[i].policy, states[i], now);
    states[i].messages = NO_MESSAGES;
  }
  if (verb === 'take' || verb === 'estimate') return decide(request, states, now, row);
  const taken = EFFECTS[verb](request, states);
  writeHead(row, true, 0, taken, now);
  let index = ROW_HEAD;
  for (let i = 0; i < takes.length; i++) {
    row[index] = 0;
    const held = heldFor(takes[i].policy, states[i], now);
    index = writeLimits(takes[i].policy, states[i], now, held, NO_AMOUNT, row, index + 1);
  }
}

const NO_MESSAGES: readonly HolderMessage[] = [];

type Effect = (request: StoreRequest, states: readonly BucketState[]) => number;

/** The effect of each verb except `take` and `estimate`; returns the amount taken. */
const EFFECTS: Readonly<Record<Exclude<Verb, 'take' | 'estimate'>, Effect>> = {
  charge({ takes: [first] }, [state]) {
    dropMark(state, first.mark);
    if (first.amount > 0) take(first.policy, state, first, 0);
    return first.amount;
  },

  takeUpTo({ takes: [{ policy, amount }] }, [state]) {
    const taken = state.blockedUntil > 0 || state.queueEnd > 0 ? 0 : Math.min(amount, wholeTokens(policy, state));
    if (taken > 0) take(policy, state, { amount: taken }, 0);
    return taken;
  },

  put({ takes, actAt }, states) {
    for (let i = 0; i < takes.length; i++) refund(takes[i].policy, states[i], takes[i], actAt?.[i]);
    return 0;
  },

  cancel({ takes, actAt }, states) {
    for (let i = 0; i < takes.length; i++) cancel(takes[i].policy, states[i], takes[i], actAt?.[i] ?? 0);
    return 0;
  },

  block({ duration = 0 }, [state]) {
    state.blockedUntil = Math.max(state.blockedUntil, state.at + duration);
    state.changed = true;
    return 0;
  },

  unblock(_request, [state]) {
    state.changed ||= state.blockedUntil > 0;
    state.blockedUntil = 0;
    return 0;
  },

  hold({ takes: [first] }, [state]) {
    return hold(first, state);
  },

  replace({ takes: [{ policy }], to, strategy }, [state, target]) {
    if (to && strategy) replace(policy, state, to, target, strategy);
    clear(policy, state);
    state.changed = true;
    return 0;
  },

  reset({ takes: [{ policy }] }, [state]) {
    clear(policy, state);
    state.changed = true;
    return 0;
  },
};

/** Executes `take` and `estimate`: takes from all buckets, or from none. */
function decide({ takes }: StoreRequest, states: readonly BucketState[], now: number, row: Row): void {
  let allowed = true;
  let delay = 0;
  let index = ROW_HEAD;
  reportCounts(takes, states);
  for (let i = 0; i < takes.length; i++) {
    const { policy, maxWait } = takes[i];
    const wait = longestWait(policy, states[i], takes[i], now);
    row[index] = wait;
    index += 1 + ROW_LIMIT * policy.limits.length;
    if (denies(states[i], wait, maxWait)) allowed = false;
    else if (wait > delay) delay = wait;
  }
  if (allowed && lacksSlot(takes, states)) {
    allowed = false;
    awaitSlots(takes, states);
  }
  writeHead(row, allowed, allowed ? delay : 0, allowed ? takes[0].amount : 0, now);
  index = ROW_HEAD;
  for (let i = 0; i < takes.length; i++) {
    const { policy, amount, maxWait } = takes[i];
    const state = states[i];
    const wait = row[index];
    if (allowed) {
      if (amount > 0) take(policy, state, takes[i], wait > 0 ? wait - (state.at - now) : 0, takes[i].mark);
      takeSlotOf(takes[i], state);
    } else if (policy.block > 0 && state.blockedUntil === 0 && denies(state, wait, maxWait)) {
      state.blockedUntil = state.at + policy.block;
      state.changed = true;
    }
    offerFreeSlots(takes[i], state, allowed);
    const held = heldFor(policy, state, now);
    // A block may end while the queue holds the bucket: the next denied request then starts another one.
    if (!allowed) row[index] = state.blockedUntil > 0 ? state.blockedUntil - now : held;
    index = writeLimits(policy, state, now, held, allowed ? undefined : takes[i], row, index + 1);
  }
}

function denies(state: BucketState, wait: number, maxWait: number): boolean {
  return state.blockedUntil > 0 || wait > maxWait || wait === Infinity;
}

/** Milliseconds from `now` until every limit admits its amount, behind all queued requests; `Infinity` for never. */
function longestWait({ limits }: Policy, state: BucketState, amounts: Amounts, now: number): number {
  let longest = Math.max(0, state.queueEnd - state.at);
  for (let i = 0; i < limits.length; i++) {
    const wait = waitFor(limits[i], state, i, amounts);
    if (wait > longest) longest = wait;
  }
  if (longest === 0) return 0;
  return isBeyondHorizon(limits, state, longest) ? Infinity : state.at - now + longest;
}

/** Whether nothing can be reserved for a request that would wait for `wait` ms. */
function isBeyondHorizon(limits: readonly Limit[], state: BucketState, wait: number): boolean {
  for (let i = 0; i < limits.length; i++) {
    const { algorithm } = limits[i];
    if (algorithm.horizon && wait >= algorithm.horizon(limits[i], state, i)) return true;
  }
  return false;
}

/** Milliseconds from `state.at` until one limit admits its amount. */
function waitFor(limit: Limit, state: BucketState, i: number, amounts: Amounts): number {
  const needed = neededFrom(amounts, i);
  return needed === 0 && amounts.amounts !== undefined ? 0 : limit.algorithm.wait(limit, state, i, needed);
}

/** The whole tokens that every limit that may deny still has, as an amount. */
function wholeTokens({ limits }: Policy, state: BucketState): number {
  let least = Infinity;
  for (let i = 0; i < limits.length; i++) {
    const limit = limits[i];
    if (limit.kind !== 'concurrency' && !isSoft(limit))
      least = Math.min(least, (limit.capacity - limit.algorithm.used(limit, state, i)) / limit.weight);
  }
  return Math.max(0, Math.floor(least / AMOUNT_PER_TOKEN)) * AMOUNT_PER_TOKEN;
}

function writeHead(row: Row, allowed: boolean, delay: number, taken: number, now: number): void {
  row[0] = allowed ? 1 : 0;
  row[1] = delay;
  row[2] = taken;
  row[3] = now;
}

/** The `retryAfter` of other verbs is that of a request that takes nothing: only a debt or a block delays it. */
const NO_AMOUNT: Retried = { amount: 0 };

type Retried = Amounts & Pick<Take, 'holder'>;

/**
 * Milliseconds from `now` for which nothing is available, whatever the balance: the bucket is blocked, or requests have
 * left its queue and tokens are available before the last remaining one acts.
 */
function heldFor(policy: Policy, state: BucketState, now: number): number {
  const blocked = state.blockedUntil > 0 ? state.blockedUntil - now : 0;
  if (state.queueEnd === 0) return blocked;
  const { limits } = policy;
  let wait = 0;
  for (let i = 0; i < limits.length; i++) wait = Math.max(wait, limits[i].algorithm.wait(limits[i], state, i, 0));
  return state.at + wait < state.queueEnd ? Math.max(blocked, state.queueEnd - now) : blocked;
}

/**
 * Writes the state of each limit, and returns the index after them. Nothing is available for `held` ms. `retryAfter` is
 * the time until a request for the amounts `retried` would be allowed, or 0 if it is omitted.
 */
function writeLimits(
  { limits }: Policy,
  state: BucketState,
  now: number,
  held: number,
  retried: Retried | undefined,
  row: Row,
  start: number,
): number {
  const ahead = state.at - now;
  let index = start;
  for (let i = 0; i < limits.length; i++) {
    const limit = limits[i];
    const { algorithm } = limit;
    const balance = limit.capacity - algorithm.used(limit, state, i);
    const wait = retried ? retryWait(limit, state, i, retried) : 0;
    row[index] = held > 0 ? Math.min(balance, 0) : balance;
    row[index + 1] = timeFromNow(wait, ahead, retried ? held : 0);
    row[index + 2] = timeFromNow(algorithm.timeToFull(limit, state, i), ahead, held);
    // Nothing is available until then, so the first token counts, not the next one.
    const more = held > 0 ? timeToFirst(limit, state, i) : algorithm.timeToNext(limit, state, i);
    row[index + 3] = timeFromNow(more, ahead, held);
    index += ROW_LIMIT;
  }
  return index;
}

function retryWait(limit: Limit, state: BucketState, i: number, retried: Retried): number {
  return limit.algorithm.hint?.(limit, state, i, retried.holder) ?? waitFor(limit, state, i, retried);
}

/** Milliseconds until one token is available, or all that a smaller bucket holds. */
function timeToFirst(limit: Limit, state: BucketState, i: number): number {
  const { algorithm, capacity, weight } = limit;
  return (algorithm.hard ?? algorithm).wait(limit, state, i, Math.min(AMOUNT_PER_TOKEN, capacity / weight));
}

/** Converts a time after `state.at` to a time after `now`. */
function timeFromNow(ms: number, ahead: number, atLeast: number): number {
  if (ms === Infinity) return NEVER;
  return Math.max(ms === 0 ? 0 : ahead + ms, atLeast);
}
