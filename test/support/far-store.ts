import { MemoryStore, RateLimitStore, RateLimitStoreError, type StoreRequest, systemClock } from 'nest-rate-limit';

/** A store somewhere else, that can be away. */
export class FarStore extends RateLimitStore {
  readonly clock = systemClock;
  away = false;
  private readonly inner = new MemoryStore();

  override async run(asked: StoreRequest) {
    if (this.away) throw new RateLimitStoreError('away');
    return this.inner.run(asked);
  }

  override subscribe() {
    return () => {};
  }
}
