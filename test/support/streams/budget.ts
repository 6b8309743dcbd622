import type { RateLimitOptions } from 'nest-rate-limit';

/** What all streams of all processes share. */
export const TOKENS = 1_000_000;
/** What a stream takes before its real cost is known. */
export const ESTIMATE = 4500;
/** The streams that each process has open at once. */
export const CONCURRENT = 100;

export const BUDGET = {
  name: 'budget',
  limits: [
    { name: 'requests', capacity: 10_000, refill: 0 },
    { name: 'tokens', capacity: TOKENS, refill: 0, cost: ESTIMATE },
  ],
} satisfies RateLimitOptions;

/** One stream: how it was meant to be, and what became of it. */
export interface Stream {
  readonly wanted: number;
  /** 0 if the handler fails before the stream begins. */
  readonly parts: number;
  readonly end: 'completes' | 'fails' | 'client disconnects';
  isAdmitted: boolean;
  /** The total that was reported last; the estimate if none was. */
  real: number;
}

/** What a process sends when all of its streams have ended. */
export interface Journal {
  readonly streams: readonly Stream[];
  /** Generators that have not ended, and connections that are still open. */
  readonly leaked: number;
  /** The tokens left in its memory; `undefined` if the budget is in Redis. */
  readonly left: number | undefined;
}
