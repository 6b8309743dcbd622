import {
  AdmissionLog,
  admit,
  expire,
  windowMore,
  windowReset,
  windowWait,
} from '../../core/algorithms/sliding-window.js';
import { debtAt, phaseAt } from '../../core/algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import { Answer, type AnsweredLimit } from '../../core/answer.js';
import { BucketAnswer, BucketStanding } from '../../core/bucket-answer.js';
import type { DecisionSource, StoreAnswer } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import type { Take } from '../../core/request.js';

/*
 * `execute` for what nearly every request is: a take of one policy, of more than nothing, at once or not at all, from a
 * bucket that is kept and not blocked. The same law without the generality, on the cells of a bucket as they lie in its
 * table: its clock at `start`, and a debt for each limit. Each returns `undefined`, and has changed nothing, where it is
 * not that simple.
 */

/** From one bucket. */
export function takeOne(
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

/** Copies of the heads of logs, since a refusal must leave them as they are. */
const seen: AdmissionLog[] = [];

/** From several limits, or from a window. */
export function takeSeveral(
  { policy, amount, maxWait }: Take,
  { limits, labels }: Pick<Policy, 'limits' | 'labels'>,
  cells: Float64Array,
  start: number,
  logs: readonly (AdmissionLog | undefined)[] | undefined,
  firstLog: number,
  now: number,
  source: DecisionSource,
): StoreAnswer | undefined {
  const at = cells[start];
  if (at > now) return undefined;
  let allowed = true;
  for (let i = 0; i < limits.length; i++) {
    const limit = limits[i];
    const kept = logs?.[firstLog + i];
    if (kept) {
      seen[i] ??= new AdmissionLog();
      seen[i].assign(kept);
      expire(limit, seen[i], now);
      if (seen[i].sum + amount > limit.capacity) allowed = false;
    } else if (debtAt(limit, cells[start + 1 + i], at, now) + amount * limit.weight > limit.capacity) {
      allowed = false;
    }
  }
  if (!allowed && (policy.block > 0 || maxWait > 0)) return undefined;
  const standings = new Array<AnsweredLimit>(limits.length);
  for (let i = 0; i < limits.length; i++) {
    const limit = limits[i];
    const kept = logs?.[firstLog + i];
    if (kept) {
      const log = seen[i];
      const retryAfter = allowed ? 0 : windowWait(limit, log, amount, now);
      if (allowed) {
        admit(limit, log, amount, now);
        kept.assign(log);
      }
      const balance = (limit.capacity - log.sum) / AMOUNT_PER_TOKEN;
      standings[i] = {
        name: labels[i],
        limit: limit.size,
        balance,
        remaining: balance > 0 ? balance : 0,
        retryAfter,
        resetAfter: windowReset(limit, log, now),
        moreAfter: windowMore(limit, log, now),
      };
    } else {
      let debt = debtAt(limit, cells[start + 1 + i], at, now);
      if (allowed) {
        debt += amount * limit.weight;
        cells[start + 1 + i] = debt;
      }
      standings[i] = new BucketStanding(limit, labels[i], debt, phaseAt(limit, now), amount, allowed);
    }
  }
  if (allowed) cells[start] = now;
  return new Answer(allowed, standings, allowed ? amount / AMOUNT_PER_TOKEN : 0, source);
}
