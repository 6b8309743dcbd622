import type { StoreAnswer } from '../core/decision.js';
import type { Policy } from '../core/policy.js';
import type { StoreRequest } from '../core/request.js';
import type { Clock } from '../util/clock.js';

/**
 * Where buckets live: the strategy to inject, and its own injection token. A store keeps states and carries requests
 * out on them as one step that nothing comes between; what an answer is, `execute` decides. A new one loads the
 * states, calls `execute`, writes those back that `changed`, and passes `describeStoreContract`.
 */
export abstract class RateLimitStore {
  /** The clock that decisions are made by; waiting callers sleep on it. */
  abstract readonly clock: Clock;

  /**
   * Carries the request out. A store that need not wait may answer directly, as `MemoryStore` does; each other one is
   * given a deadline by the module, and so a promise. It rejects with `RateLimitStoreError` if it cannot answer.
   */
  abstract run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer>;

  /**
   * Calls `listener` whenever tokens may have come back to this bucket other than by time (after one of
   * `GIVING_VERBS`), from any process, and once when listening has begun. Returns the way to stop it.
   */
  abstract subscribe(policy: Policy, key: string, listener: () => void): () => void;

  /** Whether the store answers. */
  health(): StoreHealth {
    return { status: 'up' };
  }

  /** Ends what the store has started: timers, own connections. */
  close(): void | Promise<void> {}
}

/** How a store is. `down` while it is not asked, because it did not answer. */
export interface StoreHealth {
  readonly status: 'up' | 'down';
  /** Why it is down, and since when by the machine's clock (ms). */
  readonly error?: Error;
  readonly since?: number;
}

/** The store could not answer. Never a refusal. */
export class RateLimitStoreError extends Error {
  override readonly name = 'RateLimitStoreError';

  /**
   * `bucket`: only what was asked for cannot be read; the store itself is well. `write`: the store answers, but keeps
   * nothing, because it is full or read-only.
   */
  constructor(
    message: string,
    readonly scope: 'store' | 'bucket' | 'write' = 'store',
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** So that a health check can answer with it: of an error JSON has nothing. */
  toJSON(): object {
    const { name, message, scope } = this;
    return { name, message, scope };
  }
}

/** The verbs after which somebody who waits for tokens should look again. */
export const GIVING_VERBS: ReadonlySet<string> = new Set(['put', 'cancel', 'reset', 'unblock', 'replace']);
