import type { Clock } from '../../util/clock.js';
import { RateLimitStore, type StoreHealth } from '../rate-limit.store.js';

/** Wraps another store and delegates to it everything that a subclass does not override. */
export abstract class StoreWrapper extends RateLimitStore {
  readonly clock: Clock;

  constructor(protected readonly store: RateLimitStore) {
    super();
    this.clock = store.clock;
  }

  override get isShared(): boolean {
    return this.store.isShared;
  }

  override subscribe(...args: Parameters<RateLimitStore['subscribe']>): () => void {
    return this.store.subscribe(...args);
  }

  override health(): StoreHealth {
    return this.store.health();
  }

  override close(): void | Promise<void> {
    return this.store.close();
  }
}
