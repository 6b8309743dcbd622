import { MemoryStore, RateLimitStoreError, type StoreRequest } from 'nest-rate-limit';
import { StoreWrapper } from '../../src/stores/remote/store-wrapper.js';

/** A store somewhere else, that can be away. */
export class FarStore extends StoreWrapper {
  away = false;

  constructor() {
    super(new MemoryStore());
  }

  override async run(asked: StoreRequest) {
    if (this.away) throw new RateLimitStoreError('away');
    return this.store.run(asked);
  }
}
