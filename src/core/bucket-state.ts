import type { BucketState } from './algorithms/algorithm.js';
import {
  addMark,
  advanceMarks,
  capMarks,
  dropMark,
  dropSpentMarks,
  refundMarked,
  refundToMarks,
  takeFromMarks,
} from './marks.js';
import type { Policy } from './policy.js';
import { advanceQueue, cancelReservation, chargeBehindQueue, enqueue, refundBehindQueue } from './queue.js';
import { type Amounts, amountFor, type Take } from './request.js';
import { rescale, timeToFullIn } from './scales.js';

/** The state of a full bucket that no request has used yet. */
export function newState(policy: Policy): BucketState {
  return {
    at: 0,
    blockedUntil: 0,
    queueEnd: 0,
    queue: undefined,
    debts: policy.limits.map(() => 0),
    parts: policy.limits.map((limit) => limit.algorithm.newPart()),
    marks: [],
    scales: undefined,
    changed: false,
    messages: [],
  };
}

/** Makes the bucket full and unblocked. */
export function clear(policy: Policy, state: BucketState): void {
  state.blockedUntil = 0;
  state.queueEnd = 0;
  state.queue = undefined;
  state.marks = [];
  state.scales = undefined;
  for (let i = 0; i < state.debts.length; i++) {
    state.debts[i] = 0;
    if (state.parts[i]) state.parts[i] = policy.limits[i].algorithm.newPart();
  }
}

/** Makes a state from too far ahead full and unblocked, as far as its limits do not keep their parts. */
function setBack(policy: Policy, state: BucketState, now: number): void {
  const parts = [...state.parts];
  clear(policy, state);
  for (const [i, limit] of policy.limits.entries()) {
    const part = parts[i];
    if (!part || !limit.algorithm.setBack) continue;
    limit.algorithm.setBack(limit, part, now);
    state.parts[i] = part;
    state.changed = true;
  }
}

/**
 * Brings the state up to `now`. A bucket's clock never runs backwards: if the machine's clock stepped back, the bucket's
 * clock stops until the machine's catches up, but no longer than the bucket needs to fill (or its block lasts): a state
 * from further ahead counts as no state. So a step of any size locks a key for at most one fill time.
 */
export function advance(policy: Policy, state: BucketState, now: number): void {
  if (state.scales) rescale(policy, state);
  const ahead = state.at - now;
  if (ahead > 0) {
    if (ahead <= Math.max(longestFillTime(policy, state), state.blockedUntil - state.at)) return;
    setBack(policy, state, now);
  }
  const { limits } = policy;
  if (state.marks.length > 0) advanceMarks(policy, state, now);
  if (state.queue) advanceQueue(policy, state, state.queue, now);
  for (let i = 0; i < limits.length; i++) {
    const limit = limits[i];
    limit.algorithm.advance(limit, state, i, now);
  }
  state.at = now;
  if (state.marks.length > 0) dropSpentMarks(policy, state);
  if (state.blockedUntil <= now) state.blockedUntil = 0;
  if (state.queueEnd <= now) state.queueEnd = 0;
}

function longestFillTime({ fillTime }: Policy, { scales = [] }: BucketState): number {
  return Math.max(fillTime, ...scales.map((scale) => scale.fillTime));
}

/**
 * Takes the amounts from all limits, to be used after `wait` ms (the longest wait over all limits). A take with a `mark`
 * can be refunded later.
 */
export function take(policy: Policy, state: BucketState, amounts: Amounts, wait: number, mark?: number): void {
  const { limits } = policy;
  if (state.marks.length > 0) takeFromMarks(policy, state, amounts, wait);
  if (wait > 0) enqueue(policy, state, amounts, wait);
  else if (state.queue) chargeBehindQueue(policy, state, state.queue, amounts);
  for (let i = 0; i < limits.length; i++) {
    const limit = limits[i];
    limit.algorithm.take(limit, state, i, amountFor(amounts, i), wait);
  }
  if (mark !== undefined) addMark(policy, state, mark, wait);
  state.scales ??= policy.scales;
  state.changed = true;
}

/**
 * Refunds the amounts to all limits, never above full: those of the take with the same `mark`, of a take that acted at
 * `actAt`, or of no particular one.
 */
export function refund(policy: Policy, state: BucketState, amounts: Take, actAt?: number): void {
  if (amounts.mark !== undefined) return refundMarked(policy, state, amounts, amounts.mark);
  const { limits } = policy;
  refundToMarks(policy, state, amounts);
  for (let i = 0; i < limits.length; i++) {
    const limit = limits[i];
    const mark = actAt === undefined ? undefined : limit.algorithm.newMark(limit, actAt);
    limit.algorithm.refund(limit, state, i, amountFor(amounts, i), mark);
  }
  if (state.queue) refundBehindQueue(policy, state, state.queue, amounts);
  state.changed = true;
}

/**
 * Cancels a reservation that would have acted at `actAt`. One that has acted stays; one made before a reset no longer
 * exists.
 */
export function cancel(policy: Policy, state: BucketState, amounts: Amounts & Pick<Take, 'mark'>, actAt: number): void {
  dropMark(state, amounts.mark);
  if (!state.queue || actAt <= state.at || actAt > state.queueEnd) return;
  cancelReservation(policy, state, state.queue, amounts, actAt);
  capMarks(policy, state);
  state.changed = true;
}

/** Milliseconds from `now` after which dropping the state loses nothing; 0 for at once. */
export function lifetime(policy: Policy, state: BucketState, now: number): number {
  let reset = Math.max(0, state.blockedUntil - state.at, state.queueEnd - state.at);
  const { limits } = policy;
  const { scales, debts } = state;
  for (let i = 0; i < limits.length; i++) {
    const limit = limits[i];
    const { algorithm } = limit;
    const isScaled = scales && algorithm.rescale;
    reset = Math.max(reset, isScaled ? timeToFullIn(scales[i], debts[i]) : algorithm.timeToFull(limit, state, i));
  }
  return reset === 0 ? 0 : state.at - now + reset;
}
