import type { RateLimitStore } from '../stores/rate-limit.store.js';

/**
 * Milliseconds after which the handler of a message is not expected to be called any more. Nest does not report that a
 * later guard has rejected a message.
 */
const START_TIMEOUT = 10_000;

/** The waits of each store. */
const waits = new WeakMap<RateLimitStore, Set<() => void>>();

/** Calls `listener` if the handler of a message has not started after a while; returns a function that stops waiting. */
export function whenNotStarted(store: RateLimitStore, listener: () => void): () => void {
  const all = waits.get(store) ?? new Set();
  waits.set(store, all);
  const timer = new AbortController();
  const end = () => {
    stop();
    listener();
  };
  const stop = () => {
    all.delete(end);
    timer.abort();
  };
  all.add(end);
  store.clock.sleep(START_TIMEOUT, timer.signal).then(end, () => {});
  return stop;
}

/** Ends all waits of a store that is about to be closed: no handler starts any more. */
export function endWaits(store: RateLimitStore): void {
  for (const end of [...(waits.get(store) ?? [])]) end();
}
