import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import type { DecisionSource, StoreAnswer } from '../../core/decision.js';
import type { Take } from '../../core/request.js';
import { detachedString } from '../../util/detached-string.js';

/** Tokens of one bucket that this process has taken and not yet spent. Amounts are thousandths of a token. */
export interface Lease {
  readonly take: Take;
  /** The amount held. */
  held: number;
  /** The amount needed by the requests that wait for `pending`. */
  wanted: number;
  lastUsedAt: number;
  /** The last answer of the store, which answers from the lease are based on. */
  answer: StoreAnswer | undefined;
  /** The call of the store in flight, if any; resolves with the source of its answer. */
  pending: Promise<DecisionSource> | undefined;
  /** The last refill was short. Requests then call the store individually, until one is allowed. */
  dry: boolean;
}

export function newLease(take: Take): Lease {
  const kept = { ...take, key: detachedString(take.key) };
  return { take: kept, held: 0, wanted: 0, lastUsedAt: 0, answer: undefined, pending: undefined, dry: false };
}

/** Spends held tokens. The answer reports the rest of the lease plus the balance in the store as of the last call. */
export function spend(lease: Lease, take: Take): StoreAnswer {
  lease.held -= take.amount;
  const left = lease.held / AMOUNT_PER_TOKEN;
  const known = lease.answer as StoreAnswer;
  const balance = known.balance + left;
  return {
    ...known,
    allowed: true,
    remaining: Math.max(0, balance),
    retryAfter: 0,
    delay: 0,
    source: 'cache',
    limits: known.limits.map((limit) => ({
      ...limit,
      remaining: Math.min(limit.limit, limit.remaining + left),
      retryAfter: 0,
    })),
    balance,
    taken: take.amount / AMOUNT_PER_TOKEN,
    actAt: undefined,
  };
}
