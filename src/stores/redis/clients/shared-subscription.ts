import type { EventEmitter } from 'node:events';
import type { Subscription, SubscriptionEvents } from './client-port.js';
import { listenTo } from './shared-listeners.js';

type Listener = (message: string, channel: string) => void;

/** A client of node-redis, as far as a subscription uses it. */
export interface SubscribingClient extends EventEmitter {
  readonly isReady?: boolean;
  readonly isOpen: boolean;
  subscribe(channel: string, listener: Listener): Promise<unknown>;
  unsubscribe(channel: string, listener: Listener): Promise<unknown>;
}

/**
 * Listens on a client of the application, which is not closed. It subscribes again when it reconnects, and then
 * emits `event`; messages in between are lost.
 */
export function listenOn(client: SubscribingClient, event: string, events: SubscriptionEvents): Subscription {
  const notify: Listener = (message, channel) => events.message(channel, message);
  const channels = new Set<string>();
  const notifyAll = () => {
    for (const channel of channels) events.message(channel, '');
  };
  const stop = listenTo(client, event, notifyAll);
  return {
    get isReady() {
      return client.isReady ?? client.isOpen;
    },
    subscribe: (channel) => {
      if (channels.has(channel)) return Promise.resolve();
      channels.add(channel);
      return client.subscribe(channel, notify);
    },
    unsubscribe: (channel) => {
      channels.delete(channel);
      return client.unsubscribe(channel, notify);
    },
    check: () => Promise.resolve(),
    reconnect: () => {},
    close: () => {
      stop();
      if (client.isOpen) for (const channel of channels) client.unsubscribe(channel, notify).catch(() => {});
    },
  };
}
