import { AMOUNT_PER_TOKEN } from '../amount.js';
import type { Limit } from './algorithm.js';

/** The share of `size` for one of `instances` processes, in whole parts of a token; at least a token, or all of less. */
export function shareOf(size: number, instances: number, partsPerToken: number): number {
  const share = Math.max(size / instances, Math.min(size, 1));
  return Math.floor(share * partsPerToken) / partsPerToken;
}

/** The share of a limit of whole requests. */
export function divideRequests(limit: Limit, instances: number): Limit {
  const size = shareOf(limit.size, instances, 1);
  return { ...limit, size, capacity: size * AMOUNT_PER_TOKEN };
}
