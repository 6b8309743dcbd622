/** Listeners by name: what a store needs for `subscribe`. */
export class Subscriptions {
  private readonly listeners = new Map<string, Set<() => void>>();

  /** Returns the way to stop; `onEmpty` is called when the last listener of this name has gone. */
  add(name: string, listener: () => void, onEmpty?: () => void): () => void {
    // A wrapper, so that one function may listen twice and stop once.
    const own = () => listener();
    const set = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, set.add(own));
    return () => {
      if (!set.delete(own) || set.size > 0) return;
      this.listeners.delete(name);
      onEmpty?.();
    };
  }

  /** All names that somebody listens to. */
  names(): Iterable<string> {
    return this.listeners.keys();
  }

  /** Calls all listeners of this name. */
  notify(name: string): void {
    for (const listener of this.listeners.get(name) ?? []) listener();
  }
}
