import type { Bucket } from '../bucket/bucket.js';
import { withErrorPrefix } from '../util/option-error.js';
import { holdResponse } from './held-response.js';
import type { OutboundOptions } from './outbound.options.js';
import { OutboundLimit } from './outbound-limit.js';
import type { UpstreamResponse } from './upstream-wait.js';

/** A function with the parameters of `fetch`: the global one, that of undici or node-fetch, or your own. */
export type FetchFunction = (input: never, init?: never) => Promise<UpstreamResponse>;

/** The options of `limitFetch`. */
export interface LimitFetchOptions<F extends FetchFunction = typeof globalThis.fetch> extends OutboundOptions {
  /** The function that sends the calls. Default: the global `fetch`. */
  readonly fetch?: F;
}

/**
 * Returns a `fetch` that takes a token from `bucket` before each call, and waits for its turn. With a store in Redis all
 * processes share the bucket. If the policy has a concurrency limit, the call holds a slot until the body of its response
 * has ended: read each body, or cancel it. One that has not been read for 30 seconds no longer holds its slot.
 *
 * It returns the response as it is, and repeats nothing. If the upstream answers 429, 503 or 403 and says when to retry, in
 * `Retry-After`, `RateLimit` or a header of common vendors, it blocks the bucket until then for all processes, at most
 * for `maxBlock`. Redirects that `fetch` follows need no tokens of their own.
 *
 * The call rejects with `OutboundLimitExceededException` (503) if it would wait longer than `maxWait`, with
 * `RateLimitUnavailableException` (503) if the store is unavailable and the failure mode is `'closed'`, and with the
 * reason of its signal if that is aborted during the wait. Invalid options throw `RateLimitOptionError`.
 *
 * ```ts
 * // At most 5 calls in any second, 50 ms of which are a margin for the network.
 * const bucket = buckets.bucket({ name: 'supplier', maxRequest: 5, duration: 1050, unit: 'milliseconds' }, 'all');
 * const fetch = limitFetch(bucket, { maxWait: '10s' });
 * const response = await fetch('https://supplier.example/prices');
 * ```
 */
export function limitFetch<F extends FetchFunction = typeof globalThis.fetch>(
  bucket: Bucket,
  options: LimitFetchOptions<F>,
): F {
  const limit = withErrorPrefix('Invalid limitFetch', () => new OutboundLimit(bucket, options, ['fetch']));
  const limited: FetchFunction = async (input, init) => {
    const slot = await limit.wait(signalOf(input, init));
    try {
      // The global one is looked up for each call, because tracing agents and tests replace it.
      const send: FetchFunction = options.fetch ?? globalThis.fetch;
      const response = await send(input, init);
      await limit.observe(response);
      return slot ? holdResponse(response, limit.holdOf(slot)) : response;
    } catch (error) {
      void slot?.release();
      throw error;
    }
  };
  return limited as F;
}

/** The signal of `init` replaces that of a `Request`, also if it is `null`. */
function signalOf(input: { signal?: AbortSignal } | string, init?: { signal?: AbortSignal | null }) {
  if (init?.signal !== undefined) return init.signal ?? undefined;
  return typeof input === 'object' ? input.signal : undefined;
}
