/** A combined signal, and how to detach it from its sources. */
export interface AnySignal {
  readonly signal: AbortSignal;
  /** Detaches the combined signal from its sources. */
  release(): void;
}

/**
 * Returns a signal that aborts with the first of `signals`, with its reason. Call `release` when it is no longer
 * needed: the source signals may live much longer.
 */
export function anySignal(...signals: (AbortSignal | undefined)[]): AnySignal {
  const controller = new AbortController();
  const release = onAnyAbort(signals, (reason) => controller.abort(reason));
  return { signal: controller.signal, release };
}

/**
 * Calls `listener` with the reason of each of `signals` that is aborted, at once if it already is. Returns a function that
 * removes it.
 */
export function onAnyAbort(
  signals: readonly (AbortSignal | undefined)[],
  listener: (reason: unknown) => void,
): () => void {
  const stops: (() => void)[] = [];
  for (const signal of signals) {
    if (!signal) continue;
    if (signal.aborted) listener(signal.reason);
    else stops.push(onAbort(signal, () => listener(signal.reason)));
  }
  return () => {
    for (const stop of stops) stop();
  };
}

interface Listeners {
  readonly all: Set<() => void>;
  readonly notify: () => void;
}

/**
 * The listeners of each signal, behind one of its own: thousands of waiters may share a signal. Node warns of a leak at
 * eleven, and takes longer to remove one the more there are.
 */
const listeners = new WeakMap<AbortSignal, Listeners>();

function onAbort(signal: AbortSignal, listener: () => void): () => void {
  let shared = listeners.get(signal);
  if (!shared) {
    const all = new Set<() => void>();
    const notify = () => {
      for (const each of all) each();
    };
    shared = { all, notify };
    listeners.set(signal, shared);
    signal.addEventListener('abort', notify);
  }
  const { all, notify } = shared;
  all.add(listener);
  return () => {
    all.delete(listener);
    if (all.size > 0 || listeners.get(signal) !== shared) return;
    listeners.delete(signal);
    signal.removeEventListener('abort', notify);
  };
}
