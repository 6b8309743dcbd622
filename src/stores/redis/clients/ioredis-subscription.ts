import type { Cluster, Redis } from 'ioredis';
import type { Subscription, SubscriptionEvents } from './client-port.js';
import { ignoreLaterErrors, retryDelay } from './ioredis.js';
import type { IoredisClient } from './redis-client.js';
import { listenTo } from './shared-listeners.js';

/**
 * Opens a second connection for subscriptions, also if the first is opened by its first command. It never gives up
 * reconnecting, because the application has no access to it.
 */
export function openSubscription(client: IoredisClient, events: SubscriptionEvents): Subscription {
  const connection: IoredisClient = client.isCluster
    ? (client as unknown as Cluster).duplicate([], { lazyConnect: false, clusterRetryStrategy: retryDelay })
    : (client as unknown as Redis).duplicate({ lazyConnect: false, autoResubscribe: false, retryStrategy: retryDelay });
  ignoreLaterErrors(connection);
  connection.on('message', events.message);
  connection.on('ready', events.ready);
  return {
    ...operationsOf(connection),
    get isReady() {
      return isReady(connection);
    },
    reconnect: () => connection.disconnect(true),
    close: () => connection.disconnect(),
  };
}

/** Listens on a client of the application, which is not closed. */
export function listenOnIoredis(connection: IoredisClient, events: SubscriptionEvents): Subscription {
  const stops = [listenTo(connection, 'message', events.message), listenTo(connection, 'ready', events.ready)];
  return {
    ...operationsOf(connection),
    get isReady() {
      return isReady(connection);
    },
    reconnect: () => {},
    close: () => {
      for (const stop of stops) stop();
    },
  };
}

function operationsOf(connection: IoredisClient) {
  const subscribe = (channel: string) => connection.subscribe(channel);
  return { subscribe, check: subscribe, unsubscribe: (channel: string) => connection.unsubscribe(channel) };
}

function isReady({ status = 'ready' }: IoredisClient): boolean {
  return status === 'ready';
}
