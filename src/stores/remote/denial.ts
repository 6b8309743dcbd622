import type { Limit } from '../../core/algorithms/algorithm.js';
import { bucketMore, bucketWait, debtAt, MAX_TIME, tokenBucket } from '../../core/algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import { Answer, type AnsweredLimit, hasSoftLimit, limitsOfTakes, SoftAnswer } from '../../core/answer.js';
import type { LimitState, StoreAnswer } from '../../core/decision.js';
import { neededFrom, type Take } from '../../core/request.js';

/** A denied take, as the deny cache remembers it. Instants are those of this process's clock. */
export interface Denial {
  /** The takes that were denied, in the order of the request. */
  readonly takes: readonly Take[];
  /** The state of each limit of all takes. */
  readonly limits: readonly AnsweredLimit[];
  /** When the store was called, and when it answered. */
  readonly calledAt: number;
  readonly answeredAt: number;
  /** Until when the same take is certainly denied. */
  readonly until: number;
  /** Until when the answer is known, at most `until`. */
  readonly knownUntil: number;
}

/** The denial of `takes` by `answer`; it is remembered for at most `maxAge` ms. */
export function newDenial(
  takes: readonly Take[],
  answer: StoreAnswer,
  calledAt: number,
  answeredAt: number,
  maxAge: number,
): Denial {
  const limits = answer.limits.map(copyOf);
  const kinds = limitsOfTakes(takes);
  const known = Math.min(answer.retryAfter, maxAge, ...limits.map((state, i) => knownFor(kinds[i], state)));
  const until = calledAt + answer.retryAfter;
  return { takes, limits, calledAt, answeredAt, until, knownUntil: calledAt + known };
}

/** The denial of `takes` that follows from `denial`, a denial from the same buckets; `undefined` if none follows. */
export function denialOf(denial: Denial, takes: readonly Take[]): Denial | undefined {
  if (takes.some((take, i) => startsBlock(take, denial.takes[i]) || differs(take, denial.takes[i]))) return undefined;
  return takes.every((take, i) => sameNeeds(take, denial.takes[i])) ? denial : denyLargerCost(denial, takes);
}

/**
 * Whether the store might start a block that it did not start for `denied`: policies that share a bucket may differ in
 * `block`, and a request for several buckets blocks only those whose wait exceeds their `maxWait`.
 */
function startsBlock({ policy, maxWait }: Take, denied: Take): boolean {
  return policy.block > denied.policy.block || (policy.block > 0 && maxWait < denied.maxWait);
}

/** Whether the limits of a bucket have other numbers than those that denied, because they are resolved per request. */
function differs({ policy }: Take, { policy: denied }: Take): boolean {
  if (policy === denied || !policy.isResolved) return false;
  return policy.limits.some((limit, i) => {
    const { algorithm } = limit;
    return algorithm.fingerprint(limit) !== algorithm.fingerprint(denied.limits[i]);
  });
}

function sameNeeds(one: Take, other: Take): boolean {
  return one.policy.limits.every((_, i) => neededFrom(one, i) === neededFrom(other, i));
}

/**
 * The denial of a larger cost. Its wait can be computed only for a single limit that is not blocked: for a greedy bucket,
 * of which the answer contains the exact balance, and for a calendar quota, where it is the same.
 */
function denyLargerCost(denial: Denial, [{ policy, amount }]: readonly Take[]): Denial | undefined {
  const [limit] = policy.limits;
  if (policy.limits.length > 1 || denial.takes.length > 1) return undefined;
  const [{ amount: denied }] = denial.takes;
  const [state] = denial.limits;
  if (limit.calendar) return amount < denied || amount > limit.capacity || state.heldFor ? undefined : denial;
  if (limit.algorithm !== tokenBucket || limit.period > 1) return undefined;
  const debt = debtOf(limit, state);
  if (bucketWait(limit, debt, denied * limit.weight, 0) !== state.retryAfter) return undefined;
  const retryAfter = bucketWait(limit, debt, amount * limit.weight, 0);
  // A smaller cost may be allowed earlier. A cost that can never be allowed is left to the store, whose answer says so.
  if (amount < denied || retryAfter === Infinity || state.heldFor) return undefined;
  return { ...denial, limits: [{ ...state, retryAfter }], until: denial.calledAt + retryAfter };
}

/**
 * The answer of the store at `now` if no other request has come since. When the store decided, between the call and its
 * answer, is unknown. The denial expires as if that had been at the call, and its times and balances are reported as if
 * it had been at the answer, so no reported time is too short.
 */
export function answerAt({ takes, limits, answeredAt }: Denial, now: number): StoreAnswer {
  const kinds = limitsOfTakes(takes);
  const age = Math.max(0, now - answeredAt);
  const later = age === 0 ? limits : limits.map((state, i) => stateAfter(kinds[i], state, age));
  return hasSoftLimit(takes) ? new SoftAnswer(kinds, false, later, 0, 'cache') : new Answer(false, later, 0, 'cache');
}

/** For how long `stateAfter` knows the state. */
function knownFor({ kind }: Limit, { heldFor, moreAfter }: AnsweredLimit): number {
  if (heldFor) return heldFor;
  return kind === 'bucket' || moreAfter === 0 ? Infinity : moreAfter;
}

/** The state of a limit `age` ms later. */
function stateAfter(limit: Limit, state: AnsweredLimit, age: number): AnsweredLimit {
  const left = (ms: number) => Math.max(0, ms - age);
  const { resetAfter, heldFor } = state;
  const later = {
    ...state,
    retryAfter: left(state.retryAfter),
    resetAfter: left(resetAfter),
    moreAfter: left(state.moreAfter),
  };
  // What is held stays held as long as the denial is remembered.
  if (heldFor || limit.kind !== 'bucket' || resetAfter === 0 || resetAfter >= MAX_TIME) return later;
  const debt = debtOf(limit, state);
  // How long ago the current period began; below 0 until the clock of the bucket proceeds after a step back.
  const since = Math.ceil(debt / limit.refill) * limit.period - resetAfter + age;
  const phase = Math.max(0, since);
  const rest = debtAt(limit, debt, 0, phase);
  const balance = (limit.capacity - rest) / (limit.weight * AMOUNT_PER_TOKEN);
  const moreAfter = bucketMore(limit, rest, phase) + phase - since;
  return { ...later, balance, remaining: Math.max(0, balance), moreAfter };
}

/** The debt of a bucket that is not held. */
function debtOf({ capacity, weight }: Limit, { balance }: AnsweredLimit): number {
  return Math.round(capacity - balance * AMOUNT_PER_TOKEN * weight);
}

/** A copy without getters. */
function copyOf(state: LimitState & Partial<AnsweredLimit>): AnsweredLimit {
  const { name, limit, remaining, retryAfter, resetAfter, moreAfter, balance = remaining, heldFor } = state;
  return { name, limit, remaining, retryAfter, resetAfter, moreAfter, balance, heldFor };
}
