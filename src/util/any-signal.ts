/** A combined signal, and how to detach it from its sources. */
export interface AnySignal {
  readonly signal: AbortSignal;
  /** Removes the listeners from the source signals. */
  release(): void;
}

/**
 * Returns a signal that aborts with the first of `signals`, with its reason. Call `release` when it is no longer
 * needed: the source signals may live much longer.
 */
export function anySignal(...signals: (AbortSignal | undefined)[]): AnySignal {
  const controller = new AbortController();
  const abort = ({ target }: { readonly target: unknown }) => controller.abort((target as AbortSignal).reason);
  for (const signal of signals) {
    if (signal?.aborted) controller.abort(signal.reason);
    signal?.addEventListener('abort', abort);
  }
  const release = () => {
    for (const signal of signals) signal?.removeEventListener('abort', abort);
  };
  return { signal: controller.signal, release };
}
