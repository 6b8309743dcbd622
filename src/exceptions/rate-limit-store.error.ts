import { brand } from '../util/brand.js';

/** The store could not answer. A denied request is never reported this way. */
export class RateLimitStoreError extends Error {
  static {
    brand(this, 'RateLimitStoreError');
  }

  override readonly name = 'RateLimitStoreError';

  /**
   * `scope` is what failed. `'store'`: the whole store. `'bucket'`: only the requested bucket, whose state cannot be
   * read. `'write'`: the store answers, but rejects writes because it is full or read-only.
   */
  constructor(
    message: string,
    readonly scope: 'store' | 'bucket' | 'write' = 'store',
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** Serializes name, message and scope, for health checks. By default JSON omits all of an error. */
  toJSON(): object {
    const { name, message, scope } = this;
    return { name, message, scope };
  }
}
