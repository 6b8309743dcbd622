import type { Cluster, Redis } from 'ioredis';
import type { Subscription, SubscriptionEvents } from './client-port.js';
import { retryDelay } from './ioredis.js';
import type { IoredisClient } from './redis-client.js';

/**
 * Opens a second connection for subscriptions, also if the first is opened by its first command. It never gives up
 * reconnecting, because the application has no access to it.
 */
export function openSubscription(client: IoredisClient, events: SubscriptionEvents): Subscription {
  const connection: IoredisClient = client.isCluster
    ? (client as unknown as Cluster).duplicate([], { lazyConnect: false, clusterRetryStrategy: retryDelay })
    : (client as unknown as Redis).duplicate({ lazyConnect: false, autoResubscribe: false, retryStrategy: retryDelay });
  connection.on('error', () => {});
  connection.on('message', events.message);
  connection.on('ready', events.ready);
  return {
    get isReady() {
      const { status = 'ready' } = connection;
      return status === 'ready';
    },
    subscribe: (channel) => connection.subscribe(channel),
    unsubscribe: (channel) => connection.unsubscribe(channel),
    check: (channel) => connection.subscribe(channel),
    reconnect: () => connection.disconnect(true),
    close: () => connection.disconnect(),
  };
}
