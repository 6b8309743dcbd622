import {
  MemoryStore,
  type MemoryStoreOptions,
  RateLimitStoreError,
  type StoreOutcome,
  type StoreRequest,
} from 'nest-rate-limit';
import { StoreWrapper } from '../../src/stores/remote/store-wrapper.js';

/** A remote store, which a test can make unavailable. */
export class FarStore extends StoreWrapper {
  unavailable = false;
  /** Whether requests may have been executed that fail while it is unavailable. */
  outcome: StoreOutcome = 'unknown';

  constructor(options?: MemoryStoreOptions) {
    super(new MemoryStore(options));
  }

  override async run(request: StoreRequest) {
    if (this.unavailable) {
      throw new RateLimitStoreError('simulated failure', 'store', { outcome: this.outcome });
    }
    return this.store.run(request);
  }
}
