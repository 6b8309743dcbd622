type Listener = (message: string) => void;

/** Listeners by bucket name. A store implements `subscribe` with `add`, and calls `notify` when a bucket changes. */
export class Subscriptions {
  private readonly listeners = new Map<string, Set<Listener>>();

  /** Returns a function that removes the listener; `onEmpty` is called when the last listener of a name is removed. */
  add(name: string, listener: (message: string) => void, onEmpty?: () => void): () => void {
    // Wrapped, so that the same listener can be added twice and removed once.
    const own: Listener = (message) => listener(message);
    const set = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, set.add(own));
    return () => {
      if (!set.delete(own) || set.size > 0) return;
      this.listeners.delete(name);
      onEmpty?.();
    };
  }

  /** All names that have a listener. */
  names(): Iterable<string> {
    return this.listeners.keys();
  }

  /** Passes `message` to all listeners of the name. */
  notify(name: string, message: string): void {
    for (const listener of this.listeners.get(name) ?? []) listener(message);
  }
}
