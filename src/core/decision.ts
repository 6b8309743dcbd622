import type { Take } from './request.js';
import { AMOUNT_PER_TOKEN } from './tokens.js';

/** Who answered: the store, the cache of refusals, the buckets in memory while the store is away, or nobody (let pass). */
export type DecisionSource = 'store' | 'cache' | 'fallback' | 'open';

/** How one limit stands. Same units as in `Decision`. */
export interface LimitState {
  readonly name: string;
  readonly limit: number;
  readonly remaining: number;
  readonly retryAfter: number;
  readonly resetAfter: number;
  /** Until one whole token more is there than now; 0 when full. */
  readonly moreAfter: number;
}

/**
 * The whole answer to one request: may it pass, and how does its bucket stand now. All times are milliseconds from
 * now, rounded up.
 *
 * Example: capacity 5, one token per second, after a burst of five: `{ allowed: false, limit: 5, remaining: 0,
 * retryAfter: 1000, resetAfter: 5000, delay: 0 }`.
 */
export interface Decision {
  readonly allowed: boolean;
  /**
   * The policy that decided, with its limit where it has several (`name/limit`): of a refusal the one to wait longest
   * for, else the one nearest to exhaustion.
   */
  readonly policy: string;
  /** `capacity` or `maxRequest` of the limit nearest to exhaustion. */
  readonly limit: number;
  /** Tokens left, the least over all limits; exact, so it may be a fraction; never below 0. */
  readonly remaining: number;
  /**
   * Until the same cost would pass if nobody else came; 0 when allowed, `Infinity` for never. After `charge`: until
   * the balance is not below zero.
   */
  readonly retryAfter: number;
  /** Until the bucket is as good as new; `Infinity` for a bucket without refill that is not full. */
  readonly resetAfter: number;
  /** How long this caller waits for its turn; 0 unless it reserved with `maxWait`. */
  readonly delay: number;
  readonly source: DecisionSource;
  readonly limits: readonly LimitState[];
}

/** What a store answers: the decision, and what only `Bucket` asks for. */
export interface StoreAnswer extends Decision {
  /** Tokens in the bucket, the least over its limits; may be below zero. */
  readonly balance: number;
  /** Tokens that were taken from each bucket; 0 when refused. */
  readonly taken: number;
  /** Where `delay` is above 0: for each take the store's instant at which it acts, as `cancel` needs it. */
  readonly actAt: readonly number[] | undefined;
}

/*
 * The answer as a row of numbers, as the Lua twin replies it:
 *   allowed (0 or 1), delay, amount taken, the store's now,
 *   then for each take: its own wait, and for each of its limits: balance in units, retryAfter, resetAfter, moreAfter.
 * Times are ms, -1 for never.
 */
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
    private readonly moreAfter: number,
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
          moreAfter: this.moreAfter,
        },
      ]
    );
  }
}

/** Reads a row of numbers. */
export function toAnswer(takes: readonly Take[], row: ArrayLike<number>, source: DecisionSource): StoreAnswer {
  const allowed = row[0] === 1;
  const delay = row[1];
  const taken = row[2] / AMOUNT_PER_TOKEN;
  const first = takes[0].policy;
  if (takes.length === 1 && first.limits.length === 1) {
    const limit = first.limits[0];
    const balance = row[5] / (limit.weight * AMOUNT_PER_TOKEN);
    return new Answer(
      allowed,
      first.name,
      limit.size,
      balance > 0 ? balance : 0,
      timeOf(row[6]),
      timeOf(row[7]),
      delay,
      source,
      balance,
      taken,
      delay > 0 ? [row[3] + row[4]] : undefined,
      timeOf(row[8]),
      undefined,
    );
  }
  const limits: LimitState[] = [];
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
        nearest = limits.length;
      }
      if (limits.length > 0 && retry > limits[longest].retryAfter) longest = limits.length;
      if (reset > resetAfter) resetAfter = reset;
      limits.push({
        name: policy.labels[i],
        limit: policy.limits[i].size,
        remaining: left > 0 ? left : 0,
        retryAfter: retry,
        resetAfter: reset,
        moreAfter: timeOf(row[index + 3]),
      });
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
    taken,
    delay > 0 ? waits(takes, row).map((wait) => row[3] + wait) : undefined,
    0,
    limits,
  );
}

function timeOf(ms: number): number {
  return ms === NEVER ? Infinity : ms;
}

function waits(takes: readonly Take[], row: ArrayLike<number>): number[] {
  let index = ROW_HEAD;
  return takes.map((take) => {
    const wait = row[index];
    index += 1 + ROW_LIMIT * take.policy.limits.length;
    return wait;
  });
}
