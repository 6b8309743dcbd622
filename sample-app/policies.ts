import type { RateLimitOptions } from 'nest-rate-limit';
import { costOf } from './cost.js';

/** Policies with a name: whoever names one shares its buckets. */
export const policies = {
  /** `/api`: 5 tokens at once, one more each second. */
  api: { capacity: 5, refill: 1, cost: costOf },
  /** Mails to one recipient: 5 at once, one more each second. */
  mail: { capacity: 5, refill: 1 },
} satisfies Record<string, RateLimitOptions>;
