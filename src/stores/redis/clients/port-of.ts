import type { ClientPort } from './client-port.js';
import { IoredisPort } from './ioredis-port.js';
import { isRedisClient } from './redis-client.js';

/** How the store uses a client; `undefined` if the value is not a client. */
export function portOf(client: unknown): ClientPort | undefined {
  if (isRedisClient(client)) return new IoredisPort(client);
  return undefined;
}
