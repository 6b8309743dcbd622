/**
 * What made a decision: the store, the deny cache (`'cache'`), the limits in this process while the store is unavailable
 * (`'fallback'`), or nothing, because the failure mode is `'open'`.
 */
export type DecisionSource = 'store' | 'cache' | 'fallback' | 'open';

/** The state of one limit. `limit` and `remaining` are in tokens, times in milliseconds from now. */
export interface LimitState {
  readonly name: string;
  readonly limit: number;
  readonly remaining: number;
  readonly retryAfter: number;
  readonly resetAfter: number;
  /** Until more is available: one whole token, an admission that leaves the window, or the next period; 0 when full. */
  readonly moreAfter: number;
}

/**
 * The answer to one request: whether it is allowed, and the state of its bucket. All times are milliseconds from now,
 * rounded up.
 *
 * Example: capacity 5, one token per second, after a burst of five:
 *
 * ```ts
 * { allowed: false, limit: 5, remaining: 0, retryAfter: 1000, resetAfter: 5000, delay: 0 }
 * ```
 */
export interface Decision {
  /** Whether the request is admitted: immediately, or after `delay`. */
  readonly allowed: boolean;
  /**
   * The policy that decided, with its limit if it has several (`name/limit`): for a denial the one with the longest
   * wait, otherwise the one nearest to exhaustion.
   */
  readonly policy: string;
  /** `capacity` or `maxRequest` of the limit nearest to exhaustion. */
  readonly limit: number;
  /** Tokens left, the least over all limits; exact, so possibly fractional; never below 0. */
  readonly remaining: number;
  /**
   * Milliseconds until the same cost would be allowed if no other request came; 0 when allowed, `Infinity` for never.
   * After `charge`: until the balance is no longer negative.
   */
  readonly retryAfter: number;
  /** Milliseconds until the bucket is full and unblocked; `Infinity` for a bucket without refill that is not full. */
  readonly resetAfter: number;
  /** Milliseconds for which this request is queued; 0 unless it reserved tokens with `maxWait`. */
  readonly delay: number;
  readonly source: DecisionSource;
  /** The state of each limit of all policies involved. */
  readonly limits: readonly LimitState[];
  /**
   * The soft limits that an admitted request exceeds, by their names in `limits`; absent if there are none. Soft limits
   * decide nothing: `policy`, `limit`, `remaining` and `retryAfter` are about the other limits, if there are any.
   *
   * Example: `['plan/included']` for the 1,001st request of a month that includes 1,000.
   */
  readonly exceeded?: readonly string[];
}

/**
 * The answer of a store: a decision, and fields that only `Bucket` uses. Its properties may be getters, which `{ ...answer }`
 * and JSON lose: copy it with `plainAnswer`.
 */
export interface StoreAnswer extends Decision {
  /** Tokens in the bucket, the least over its limits; negative when in debt. */
  readonly balance: number;
  /** Tokens taken from each bucket; 0 when denied. */
  readonly taken: number;
  /** If a sliding window or a calendar quota has admitted: when, in ms since 1970 by the store's clock. Refunds require it. */
  readonly takenAt?: number;
  /** For each take when it acts, in ms since 1970, if not all act at once; `cancel` requires it. */
  readonly actAt: readonly number[] | undefined;
}
