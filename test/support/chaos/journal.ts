/** What the processes of a chaos test do, and what they report about it. */

export const TIMEOUT = 50;

/** A bucket without refill, so that the balance shows every token that was ever taken or returned. */
export const POOL = { name: 'pool', capacity: 1_000_000, refill: 0 } as const;
/** What is in the pool at the beginning. It is never full, where a refund would have no effect. */
export const POOL_BALANCE = 900_000;
/** Limits that are also decided locally. The refill is slow, so that one full bucket too many shows. */
export const RATE = { name: 'rate', capacity: 60, refill: 12 } as const;
export const WINDOW = { name: 'window', maxRequest: 60, duration: 5 } as const;
/** Requests queue here, and some abandon their reservation. */
export const QUEUE = { name: 'queue', capacity: 4, refill: 60 } as const;
/** The guard settles the cost of 3 that it takes: refunds here, charges there. */
export const REFUNDED = { name: 'refunded', capacity: 1_000_000, refill: 0 } as const;
export const OVERRUN = { name: 'overrun', capacity: 1_000_000, refill: 0 } as const;
export const TAKEN = 3;

/** One operation and its outcome. */
export interface Entry {
  readonly verb: 'decide' | 'put' | 'charge' | 'consume' | 'request';
  readonly policy: string;
  readonly key: string;
  readonly amount: number;
  readonly result: 'allowed' | 'denied' | 'failed' | 'aborted';
  /** `Decision.source`, if there is a decision. */
  readonly source?: string;
  /** `RateLimitStoreError.outcome` of a failure. */
  readonly outcome?: string;
  /** What the request really cost. */
  readonly real?: number;
  /** ms beyond the deadline, without the time for which this process was late itself. */
  readonly late: number;
}

/** The report of a process when it has ended. */
export interface Journal {
  readonly entries: readonly Entry[];
  /** What must never happen: unhandled rejections, uncaught exceptions, warnings, errors other than the library's. */
  readonly incidents: readonly string[];
}

/** Messages to a process. */
export type Order = { readonly busy: number } | { readonly step: number } | { readonly stop: true };
