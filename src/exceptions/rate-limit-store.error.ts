import { brand } from '../util/brand.js';

/** Whether a failed request has changed its buckets: see `RateLimitStoreError.outcome`. */
export type StoreOutcome = 'not-applied' | 'unknown';

/** The store could not answer. A denied request is never reported this way. */
export class RateLimitStoreError extends Error {
  static {
    brand(this, 'RateLimitStoreError');
  }

  override readonly name = 'RateLimitStoreError';

  /**
   * Whether the request has changed its buckets. `'not-applied'`: it has not and will not, so it may be repeated.
   * `'unknown'`: no answer arrived, such as when the connection was lost after the request had been sent.
   */
  readonly outcome: StoreOutcome;

  /**
   * `scope` is what failed. `'store'`: the whole store. `'bucket'`: only the requested bucket, whose state cannot be
   * read. `'write'`: the store answers, but rejects writes because it is full or read-only. The default `outcome` is
   * `'unknown'` for the scope `'store'`, and `'not-applied'` for the other two.
   */
  constructor(
    message: string,
    readonly scope: 'store' | 'bucket' | 'write' = 'store',
    options: ErrorOptions & { readonly outcome?: StoreOutcome } = {},
  ) {
    super(message, options);
    this.outcome = options.outcome ?? (scope === 'store' ? 'unknown' : 'not-applied');
  }

  /** Serializes name, message, scope and outcome, for health checks. By default JSON omits all of an error. */
  toJSON(): object {
    const { name, message, scope, outcome } = this;
    return { name, message, scope, outcome };
  }
}
