/** Who answered: the store, the cache of refusals, the buckets in memory while it is away, or nobody (let pass). */
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
 * Example: capacity 5, one token per second, after a burst of five:
 *
 * ```ts
 * { allowed: false, limit: 5, remaining: 0, retryAfter: 1000, resetAfter: 5000, delay: 0 }
 * ```
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

/**
 * What a store answers: the decision, and what only `Bucket` asks for. It may tell its parts by getters, which
 * `{ ...answer }` and JSON lose: copy it by `plainAnswer`.
 */
export interface StoreAnswer extends Decision {
  /** Tokens in the bucket, the least over its limits; may be below zero. */
  readonly balance: number;
  /** Tokens that were taken from each bucket; 0 when refused. */
  readonly taken: number;
  /** Where `delay` is above 0: for each take the store's instant at which it acts, as `cancel` needs it. */
  readonly actAt: readonly number[] | undefined;
}
