import { type Clock, RateLimitStore, RateLimitStoreError, systemClock } from 'nest-rate-limit';

/** A store that never answers but with its failure. */
export class BrokenStore extends RateLimitStore {
  readonly clock: Clock = systemClock;

  async run(): Promise<never> {
    throw new RateLimitStoreError('away');
  }

  subscribe(): () => void {
    return () => {};
  }
}
