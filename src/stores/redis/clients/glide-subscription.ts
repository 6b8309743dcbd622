import { warnOnce } from '../../../observe/logger.js';
import { safeError } from './client-error.js';
import type { Subscription, SubscriptionEvents } from './client-port.js';
import type { GlideConnection } from './glide.js';

/** How long to wait for the confirmation of a subscription, in ms. */
const TIMEOUT = 2000;

/** Listens on a client of its own, of GLIDE 2.3 or later, which subscribes again when it reconnects. */
export function listenOnGlide(client: GlideConnection, events: SubscriptionEvents): Subscription {
  const channels = new Set<string>();
  const stop = receive(client, events);
  return {
    get isReady() {
      return client.isClosed !== true;
    },
    subscribe: async (channel) => {
      channels.add(channel);
      await client.subscribe?.([channel], TIMEOUT);
    },
    unsubscribe: async (channel) => {
      channels.delete(channel);
      await client.unsubscribeLazy?.([channel]);
    },
    check: () => Promise.resolve(),
    reconnect: () => {},
    close: () => {
      stop();
      if (!client.isClosed) client.unsubscribeLazy?.(channels).catch(() => {});
    },
  };
}

/** The stores that listen on a client, each message of which is received once. */
const listeners = new WeakMap<GlideConnection, Set<SubscriptionEvents>>();

/** Passes messages to a store. Returns a function that stops that. */
function receive(client: GlideConnection, events: SubscriptionEvents): () => void {
  const present = listeners.get(client);
  const all = present ?? new Set();
  all.add(events);
  if (!present) {
    listeners.set(client, all);
    void receiveAll(client, all);
  }
  return () => void all.delete(events);
}

/** Passes messages on until the client is closed. */
async function receiveAll(client: GlideConnection, all: ReadonlySet<SubscriptionEvents>): Promise<void> {
  try {
    for (;;) {
      const { channel, message } = await client.getPubSubMessage();
      for (const events of all) events.message(String(channel), String(message));
    }
  } catch (error) {
    if (client.isClosed) return;
    const { message } = safeError(error);
    warnOnce.about(client, `\`subscriber\` receives no messages, so \`watch\` checks its bucket every 5 s: ${message}`);
  }
}
