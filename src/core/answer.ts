import type { Decision, DecisionSource, LimitState, StoreAnswer } from './decision.js';
import type { Policy } from './policy.js';
import type { Take } from './request.js';
import { AMOUNT_PER_TOKEN } from './tokens.js';

/*
 * The answer as a row of numbers, as the Lua twin replies it:
 *   allowed (0 or 1), delay, amount taken, the store's now,
 *   then for each take: its own wait, and for each of its limits: balance in units, retryAfter, resetAfter, moreAfter.
 * Times are ms, -1 for never.
 */
export type Row = { [index: number]: number };
export const ROW_HEAD = 4;
export const ROW_LIMIT = 4;
export const NEVER = -1;

/** How many numbers the row for `takes` has. */
export function rowLength(takes: readonly Take[]): number {
  return takes.reduce((length, take) => length + 1 + ROW_LIMIT * take.policy.limits.length, ROW_HEAD);
}

class Answer implements StoreAnswer {
  constructor(
    readonly allowed: boolean,
    readonly policy: string,
    readonly limit: number,
    readonly remaining: number,
    readonly retryAfter: number,
    readonly resetAfter: number,
    readonly delay: number,
    readonly source: DecisionSource,
    readonly balance: number,
    readonly taken: number,
    readonly actAt: readonly number[] | undefined,
    readonly moreAfter: number | undefined,
    private readonly several: readonly LimitState[] | undefined,
  ) {}

  /** With one limit it says what the decision says, so it is only made when asked for. */
  get limits(): readonly LimitState[] {
    return (
      this.several ?? [
        {
          name: this.policy,
          limit: this.limit,
          remaining: this.remaining,
          retryAfter: this.retryAfter,
          resetAfter: this.resetAfter,
          moreAfter: this.moreAfter ?? 0,
        },
      ]
    );
  }

  /** The decision, for a log or a body: `limits` is no field of its own, and the rest of an answer is nobody's. */
  toJSON(): Decision {
    const { allowed, policy, limit, remaining, retryAfter, resetAfter, delay, source, limits } = this;
    return { allowed, policy, limit, remaining, retryAfter, resetAfter, delay, source, limits };
  }
}

/** The answer of a policy with one limit, of which `balance` tokens are left. */
export function singleAnswer(
  policy: Policy,
  allowed: boolean,
  balance: number,
  retryAfter: number,
  resetAfter: number,
  moreAfter: number,
  taken: number,
  source: DecisionSource,
  delay = 0,
  actAt: readonly number[] | undefined = undefined,
): StoreAnswer {
  const limit = policy.limits[0];
  return new Answer(
    allowed,
    policy.name,
    limit.size,
    balance > 0 ? balance : 0,
    retryAfter,
    resetAfter,
    delay,
    source,
    balance,
    taken / AMOUNT_PER_TOKEN,
    actAt,
    moreAfter,
    undefined,
  );
}

/** Reads a row of numbers. */
export function toAnswer(takes: readonly Take[], row: Readonly<Row>, source: DecisionSource): StoreAnswer {
  const allowed = row[0] === 1;
  const delay = row[1];
  const first = takes[0].policy;
  if (takes.length === 1 && first.limits.length === 1) {
    const actAt = delay > 0 ? [row[3] + row[4]] : undefined;
    const retryAfter = timeOf(row[6]);
    const resetAfter = timeOf(row[7]);
    const moreAfter = timeOf(row[8]);
    const balance = row[5] / (first.limits[0].weight * AMOUNT_PER_TOKEN);
    return singleAnswer(first, allowed, balance, retryAfter, resetAfter, moreAfter, row[2], source, delay, actAt);
  }
  // Of its length from the start: an array that grows is given room for many.
  const limits = new Array<LimitState>((rowLength(takes) - ROW_HEAD - takes.length) / ROW_LIMIT);
  let count = 0;
  let nearest = 0;
  let longest = 0;
  let balance = Infinity;
  let resetAfter = 0;
  let index = ROW_HEAD;
  for (const { policy } of takes) {
    index++;
    for (let i = 0; i < policy.limits.length; i++, index += ROW_LIMIT) {
      const left = row[index] / (policy.limits[i].weight * AMOUNT_PER_TOKEN);
      const retry = timeOf(row[index + 1]);
      const reset = timeOf(row[index + 2]);
      if (left < balance) {
        balance = left;
        nearest = count;
      }
      if (count > 0 && retry > limits[longest].retryAfter) longest = count;
      if (reset > resetAfter) resetAfter = reset;
      limits[count++] = {
        name: policy.labels[i],
        limit: policy.limits[i].size,
        remaining: left > 0 ? left : 0,
        retryAfter: retry,
        resetAfter: reset,
        moreAfter: timeOf(row[index + 3]),
      };
    }
  }
  const { retryAfter } = limits[longest];
  return new Answer(
    allowed,
    limits[retryAfter > 0 ? longest : nearest].name,
    limits[nearest].limit,
    limits[nearest].remaining,
    retryAfter,
    resetAfter,
    delay,
    source,
    balance,
    row[2] / AMOUNT_PER_TOKEN,
    delay > 0 ? waits(takes, row).map((wait) => row[3] + wait) : undefined,
    undefined,
    limits,
  );
}

/** The row of buckets that nobody has asked: all full, and the request allowed. */
export function openRow(takes: readonly Take[], now: number): readonly number[] {
  const row = [1, 0, takes[0].amount, now];
  for (const { policy } of takes) {
    row.push(0);
    for (const limit of policy.limits) row.push(limit.capacity, 0, 0, 0);
  }
  return row;
}

function timeOf(ms: number): number {
  return ms === NEVER ? Infinity : ms;
}

function waits(takes: readonly Take[], row: Readonly<Row>): number[] {
  let index = ROW_HEAD;
  return takes.map((take) => {
    const wait = row[index];
    index += 1 + ROW_LIMIT * take.policy.limits.length;
    return wait;
  });
}
