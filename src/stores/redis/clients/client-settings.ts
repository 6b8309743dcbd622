import type { ClusterOptions, RedisOptions } from 'ioredis';
import { warnOnce } from '../../../observe/logger.js';
import type { RedisClient } from './redis-client.js';

/** The timeouts after which a client rejects commands itself, in ms; `Infinity` without one. */
export interface ClientTimeouts {
  readonly commandTimeout: number;
  /** Since the last data while commands are outstanding. */
  readonly socketTimeout: number;
}

export function clientTimeouts(client: RedisClient): ClientTimeouts {
  const { commandTimeout, socketTimeout } = connectionOptions(client);
  return { commandTimeout: commandTimeout ?? Infinity, socketTimeout: socketTimeout ?? Infinity };
}

/** Whether the client may send a command again whose connection closed before the reply. */
export function mayResend({ isCluster, options = {} }: RedisClient): boolean {
  if (isCluster) return ((options as ClusterOptions).retryDelayOnFailover ?? 0) > 0;
  return (options as RedisOptions).autoResendUnfulfilledCommands ?? true;
}

/** Warns once about a client whose settings do not suit the store; `timeout` is the deadline of its commands in ms. */
export function warnAboutSettings(client: RedisClient, timeout: number): void {
  const found = unsuitableSettings(client, timeout);
  if (found.length > 0) warnOnce.about(client, `Redis connection: ${found.join('; ')}`);
}

/** For each unsuitable setting what is wrong, and the fix. */
function unsuitableSettings(client: RedisClient, timeout: number): string[] {
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

/** The options of a `Redis`, or of the connections to the nodes of a `Cluster`. */
function connectionOptions({ isCluster, options = {} }: RedisClient): RedisOptions {
  return (isCluster ? (options as ClusterOptions).redisOptions : (options as RedisOptions)) ?? {};
}
