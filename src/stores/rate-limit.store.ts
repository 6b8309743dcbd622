import type { StoreAnswer } from '../core/decision.js';
import type { Policy } from '../core/policy.js';
import type { StoreRequest } from '../core/request.js';
import { brand } from '../util/brand.js';
import type { Clock } from '../util/clock.js';
import { VERSION } from '../util/version.js';

/**
 * Keeps buckets and executes requests on them. The class is also the injection token of the application's store.
 *
 * Each request is executed atomically. To write a store, load the states of the request's buckets, pass them to
 * `execute`, which computes the answer, and save those that have `changed` set. `describeStoreContract` tests a store.
 */
export abstract class RateLimitStore {
  static {
    brand(this, 'RateLimitStore', VERSION);
  }

  /** The clock of the store's decisions, on which queued requests sleep. */
  abstract readonly clock: Clock;

  /** Whether other processes use the same buckets. Slots of a store that is not shared last until they are released. */
  get isShared(): boolean {
    return true;
  }

  /**
   * Executes the request. Returns an answer if the store needs no I/O, as `MemoryStore` does; otherwise a promise,
   * which rejects with `RateLimitStoreError` if the store cannot answer. The module adds a deadline to every store but
   * `MemoryStore`.
   */
  abstract run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer>;

  /**
   * Calls `listener` whenever tokens may have returned to the bucket other than by refill: after one of `GIVING_VERBS`,
   * in any process. If subscribing takes time, also calls it once when the subscription has started. The message is then
   * empty. With a `holder`, the listener receives the `text` of each `HolderMessage` for it, too. Returns a function that
   * unsubscribes.
   */
  abstract subscribe(policy: Policy, key: string, listener: (message: string) => void, holder?: number): () => void;

  /** Returns the health of the store, without I/O. */
  health(): StoreHealth {
    return { status: 'up' };
  }

  /** Stops what the store has started: timers and the connections that it opened. */
  close(): void | Promise<void> {}
}

/** The health of a store. It is `down` while calls are suspended because the store did not answer. */
export interface StoreHealth {
  readonly status: 'up' | 'down';
  /** Why the store is down. */
  readonly error?: Error;
  /** When it went down, in ms of the system clock. */
  readonly since?: number;
}

/** The verbs that may make tokens or slots available: waiters check their bucket again after them. */
export const GIVING_VERBS: ReadonlySet<string> = new Set(['put', 'cancel', 'reset', 'unblock', 'hold', 'replace']);
