import { GlideClient, Logger } from '@valkey/valkey-glide';
import { createClient } from 'redis';

/** Opens a client of a library; `undefined` for ioredis, of which the module opens one. */
export async function openClient(url: string, library: string | undefined) {
  if (library === 'node-redis') {
    const client = createClient({
      url,
      pingInterval: 500,
      socket: { socketTimeout: 2000, reconnectStrategy: (retries) => Math.min(50 * retries, 500) },
    });
    client.on('error', () => {});
    await client.connect();
    return client;
  }
  if (library !== 'Valkey GLIDE') return undefined;
  Logger.setLoggerConfig('off');
  const { hostname: host, port } = new URL(url);
  return GlideClient.createClient({ addresses: [{ host, port: Number(port) }] });
}
