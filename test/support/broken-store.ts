import { type Clock, RateLimitStore, RateLimitStoreError, systemClock } from 'nest-rate-limit';

/** A store that rejects every request. */
export class BrokenStore extends RateLimitStore {
  readonly clock: Clock = systemClock;

  async run(): Promise<never> {
    throw new RateLimitStoreError('simulated failure');
  }

  subscribe(): () => void {
    return () => {};
  }
}
