import { MemoryStore, type MemoryStoreOptions, RateLimitStoreError, type StoreRequest } from 'nest-rate-limit';
import { StoreWrapper } from '../../src/stores/remote/store-wrapper.js';

/** A remote store, which a test can make unavailable. */
export class FarStore extends StoreWrapper {
  unavailable = false;

  constructor(options?: MemoryStoreOptions) {
    super(new MemoryStore(options));
  }

  override async run(request: StoreRequest) {
    if (this.unavailable) throw new RateLimitStoreError('simulated failure');
    return this.store.run(request);
  }
}
