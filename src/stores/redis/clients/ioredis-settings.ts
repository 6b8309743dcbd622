import type { ClusterOptions, RedisOptions } from 'ioredis';
import type { ClientTimeouts } from './client-port.js';
import type { IoredisClient } from './redis-client.js';

export function clientTimeouts(client: IoredisClient): ClientTimeouts {
  const { commandTimeout, socketTimeout } = connectionOptions(client);
  return { commandTimeout: commandTimeout ?? Infinity, socketTimeout: socketTimeout ?? Infinity };
}

/** Whether the client may send a command again whose connection closed before the reply. */
export function mayResend({ isCluster, options = {} }: IoredisClient): boolean {
  if (isCluster) return ((options as ClusterOptions).retryDelayOnFailover ?? 0) > 0;
  return (options as RedisOptions).autoResendUnfulfilledCommands ?? true;
}

/** For each unsuitable setting what is wrong, and the fix. */
export function unsuitableSettings(client: IoredisClient, timeout: number): string[] {
  const { isCluster, status, options = {} } = client;
  const { readOnly, role, retryStrategy } = connectionOptions(client);
  const found: string[] = [];
  if (status === 'end') found.push('it is closed; pass an open one');
  if (readOnly || role === 'slave') {
    const setting = readOnly ? '`readOnly`' : "`role: 'slave'`";
    found.push(`${setting} sends commands to replicas, which cannot take tokens; remove it`);
  }
  if (isCluster && options.keyPrefix?.includes('{')) {
    found.push('a brace in `keyPrefix` puts all buckets into one slot of the Cluster; remove it');
  }
  if (!isCluster && retryStrategy === null) found.push('`retryStrategy: null` never reconnects; remove it');
  if (timeout < Infinity) found.push(...unsuitableTimeouts(clientTimeouts(client), timeout));
  return found;
}

/** The options of a `Redis`, or of the connections to the nodes of a `Cluster`. */
function connectionOptions({ isCluster, options = {} }: IoredisClient): RedisOptions {
  return (isCluster ? (options as ClusterOptions).redisOptions : (options as RedisOptions)) ?? {};
}

/** For each timeout of a client that does not suit the deadline of commands what is wrong, and the fix. */
function unsuitableTimeouts({ commandTimeout, socketTimeout }: ClientTimeouts, timeout: number): string[] {
  const found: string[] = [];
  if (commandTimeout < timeout) {
    found.push(
      `\`commandTimeout\` (${commandTimeout} ms) is below the deadline of ${timeout} ms, and loses replies that would ` +
        'still be in time; remove it',
    );
  }
  if (socketTimeout < timeout) {
    found.push(`\`socketTimeout\` (${socketTimeout} ms) is below the deadline of ${timeout} ms; raise it`);
  } else if (socketTimeout === Infinity) {
    found.push('without `socketTimeout`, a connection that fell silent may be used for minutes; set it to 2000');
  }
  return found;
}
