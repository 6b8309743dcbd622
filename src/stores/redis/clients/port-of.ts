import type { ClientPort } from './client-port.js';
import type { GlideConnection } from './glide.js';
import { GlidePort } from './glide-port.js';
import { IoredisPort } from './ioredis-port.js';
import type { NodeClient } from './node-redis.js';
import { type ClusterClient, NodeRedisClusterPort } from './node-redis-cluster-port.js';
import { NodeRedisClientPort } from './node-redis-port.js';
import { NodeRedisSentinelPort, type SentinelClient } from './node-redis-sentinel-port.js';
import { hasMethods, isGlideClient, isIoredisClient, isNodeRedisClient } from './redis-client.js';

/** How the store uses a client, which is recognized by its methods; `undefined` if the value is not a client. */
export function portOf(client: unknown): ClientPort | undefined {
  if (isIoredisClient(client)) return new IoredisPort(client);
  if (isGlideClient(client)) return new GlidePort(client as unknown as GlideConnection);
  if (!isNodeRedisClient(client)) return undefined;
  if (hasMethods(client, ['nodeClient'])) return new NodeRedisClusterPort(client as unknown as ClusterClient);
  if (hasMethods(client, ['getSentinelNode'])) return new NodeRedisSentinelPort(client as unknown as SentinelClient);
  return new NodeRedisClientPort(client as unknown as NodeClient);
}
