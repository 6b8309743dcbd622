import type { Take } from '../core/request.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { anySignal } from '../util/any-signal.js';
import { type Duration, parseDuration } from '../util/duration.js';

/** How long a wait relies on being notified, in ms. */
const RECHECK_INTERVAL = 5000;

interface WatchOptions {
  readonly timeout?: Duration;
  readonly signal?: AbortSignal;
  /** Aborted when the application closes. */
  readonly closing?: AbortSignal;
}

/** Resolves when the store would admit `takes`, which are for `n` tokens of one bucket. */
export async function watchTakes(
  store: RateLimitStore,
  takes: readonly Take[],
  n: number,
  { timeout, signal, closing }: WatchOptions,
): Promise<void> {
  const [{ policy, key }] = takes;
  const aborted = anySignal(signal, closing);
  const { clock } = store;
  const timeoutMs = timeout === undefined ? Infinity : parseDuration('timeout', timeout);
  const deadline = clock.now() + timeoutMs;
  let wake = new AbortController();
  const stop = store.subscribe(policy, key, () => wake.abort());
  aborted.signal.addEventListener('abort', () => wake.abort());
  try {
    for (;;) {
      aborted.signal.throwIfAborted();
      wake = new AbortController();
      const { allowed, retryAfter } = await store.run({ verb: 'estimate', takes });
      if (allowed) return;
      const left = deadline - clock.now();
      if (left <= 0) throw new DOMException(`Timed out after ${timeoutMs} ms waiting for ${n} tokens`, 'TimeoutError');
      await clock.sleep(Math.min(retryAfter, left, RECHECK_INTERVAL), wake.signal).catch(() => {});
    }
  } finally {
    stop();
    aborted.release();
  }
}
