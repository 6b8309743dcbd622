import { AdmissionLog } from '../../core/algorithms/admission-log.js';
import type { Limit, StatePart } from '../../core/algorithms/algorithm.js';
import {
  admit,
  expire,
  slidingWindow,
  windowMore,
  windowReset,
  windowWait,
} from '../../core/algorithms/sliding-window.js';
import { debtAt, phaseAt, tokenBucket } from '../../core/algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import { Answer, type AnsweredLimit, limitState } from '../../core/answer.js';
import { BucketAnswer, BucketLimitState } from '../../core/bucket-answer.js';
import type { DecisionSource, StoreAnswer } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import type { Take } from '../../core/request.js';

/*
 * `execute` for nearly every request: a take of one policy, of more than nothing, now or not at all, from an unblocked
 * bucket in the table. The same decision without the generality, on the cells of a bucket as the table stores them: its
 * time at `start`, followed by a debt for each limit. Both functions return `undefined`, and have changed nothing, if
 * the request is not that simple.
 */

/** Whether the fast path knows all limits of a policy. */
export function hasFastPath({ limits }: Policy): boolean {
  return limits.every(({ algorithm }) => algorithm === tokenBucket || algorithm === slidingWindow);
}

/** Takes from a policy with a single bucket. */
export function takeFromOneBucket(
  { policy, amount, maxWait }: Take,
  cells: Float64Array,
  start: number,
  now: number,
  source: DecisionSource,
): StoreAnswer | undefined {
  const at = cells[start];
  if (at > now) return undefined;
  const limit = policy.limits[0];
  const units = amount * limit.weight;
  let debt = debtAt(limit, cells[start + 1], at, now);
  const allowed = debt + units <= limit.capacity;
  if (allowed) {
    debt += units;
    cells[start] = now;
    cells[start + 1] = debt;
  } else if (policy.block > 0 || maxWait > 0) {
    return undefined;
  }
  return new BucketAnswer(limit, policy.name, debt, phaseAt(limit, now), amount, allowed, source);
}

/** Copies of the heads of logs, as a denial must leave the logs as they are. */
const heads: AdmissionLog[] = [];

/** Takes from a policy with several limits, or a window. */
export function takeFromLimits(
  { policy, amount, maxWait }: Take,
  { limits, labels }: Pick<Policy, 'limits' | 'labels'>,
  cells: Float64Array,
  start: number,
  parts: readonly (StatePart | undefined)[] | undefined,
  firstPart: number,
  now: number,
  source: DecisionSource,
): StoreAnswer | undefined {
  const at = cells[start];
  if (at > now) return undefined;
  let allowed = true;
  for (let i = 0; i < limits.length; i++) {
    const limit = limits[i];
    const log = parts?.[firstPart + i] as AdmissionLog | undefined;
    if (log) {
      heads[i] ??= new AdmissionLog();
      heads[i].assign(log);
      expire(limit, heads[i], now);
      if (heads[i].sum + amount > limit.capacity) allowed = false;
    } else if (debtAt(limit, cells[start + 1 + i], at, now) + amount * limit.weight > limit.capacity) {
      allowed = false;
    }
  }
  if (!allowed && (policy.block > 0 || maxWait > 0)) return undefined;
  const states = new Array<AnsweredLimit>(limits.length);
  let takenAt: number | undefined;
  for (let i = 0; i < limits.length; i++) {
    const log = parts?.[firstPart + i] as AdmissionLog | undefined;
    if (log) {
      states[i] = admitTo(log, heads[i], limits[i], labels[i], amount, allowed, now);
      if (allowed) takenAt = now;
    } else {
      const limit = limits[i];
      let debt = debtAt(limit, cells[start + 1 + i], at, now);
      if (allowed) cells[start + 1 + i] = debt += amount * limit.weight;
      states[i] = new BucketLimitState(limit, labels[i], debt, phaseAt(limit, now), amount, allowed);
    }
  }
  if (allowed) cells[start] = now;
  return new Answer(allowed, states, allowed ? amount / AMOUNT_PER_TOKEN : 0, source, takenAt);
}

/** Admits `amount` to a window if `allowed`; `head` is its log without expired admissions. */
function admitTo(
  log: AdmissionLog,
  head: AdmissionLog,
  limit: Limit,
  name: string,
  amount: number,
  allowed: boolean,
  now: number,
): AnsweredLimit {
  const retryAfter = allowed ? 0 : windowWait(limit, head, amount, now);
  if (allowed) {
    admit(limit, head, amount, now);
    log.assign(head);
  }
  const balance = limit.capacity - head.sum;
  return limitState(name, limit, balance, retryAfter, windowReset(limit, head, now), windowMore(limit, head, now));
}
