type Listener = (...args: string[]) => void;

/** A client, as far as its events are used. */
interface Emitter {
  on(event: string, listener: Listener): unknown;
  removeListener(event: string, listener: Listener): unknown;
}

/** The one listener of an event that all stores on a client share: Node warns about more than ten. */
class SharedListener {
  readonly listeners = new Set<Listener>();

  readonly notify: Listener = (...args) => {
    for (const listener of [...this.listeners]) listener(...args);
  };
}

const shared = new WeakMap<Emitter, Map<string, SharedListener>>();

/** Adds a listener to a client of the application. Returns a function that removes it. */
export function listenTo(client: Emitter, event: string, listener: Listener): () => void {
  const events = shared.get(client) ?? new Map<string, SharedListener>();
  shared.set(client, events);
  const one = events.get(event) ?? new SharedListener();
  const { listeners, notify } = one;
  if (listeners.size === 0) {
    events.set(event, one);
    client.on(event, notify);
  }
  listeners.add(listener);
  return () => {
    if (!listeners.delete(listener) || listeners.size > 0) return;
    events.delete(event);
    client.removeListener(event, notify);
  };
}

/** Resolves at the next `event`; rejects if the client is closed before. */
export function nextEvent(client: Emitter, event: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (done: () => void) => {
      for (const stop of stops) stop();
      done();
    };
    const stops = [
      listenTo(client, event, () => settle(resolve)),
      listenTo(client, 'end', () => settle(() => reject(new Error('the connection is closed')))),
    ];
  });
}
