import type { EventEmitter } from 'node:events';
import type { ClientTimeouts } from './client-port.js';
import type { NodeRedisOptions } from './node-redis.js';

/** A timeout of commands is left out: it acts only before a command is written, which is then removed. */
export function nodeRedisTimeouts({ socket }: NodeRedisOptions): ClientTimeouts {
  return { commandTimeout: Infinity, socketTimeout: socket?.socketTimeout || Infinity };
}

/** For each unsuitable setting what is wrong, and the fix; `options` are those of the connections. */
export function unsuitableNodeRedisSettings(
  client: EventEmitter,
  options: NodeRedisOptions,
  timeout: number,
): string[] {
  const found: string[] = [];
  const { socketTimeout, reconnectStrategy } = options.socket ?? {};
  if (client.listenerCount('error') === 0) {
    found.push("without a listener of `error`, an outage ends the process; add `client.on('error', …)`");
  }
  if (options.readonly) found.push('`readonly` sends commands to replicas, which cannot take tokens; remove it');
  if (reconnectStrategy === false) found.push('`socket.reconnectStrategy: false` never reconnects; remove it');
  if (timeout === Infinity) return found;
  if (!socketTimeout) {
    found.push(
      'without `socket.socketTimeout`, a connection that fell silent may be used for minutes; set it to 2000, with ' +
        '`pingInterval: 500` and a `socket.reconnectStrategy`',
    );
    return found;
  }
  if (socketTimeout < timeout) {
    found.push(`\`socket.socketTimeout\` (${socketTimeout} ms) is below the deadline of ${timeout} ms; raise it`);
  }
  if (reconnectStrategy === undefined) {
    found.push('`socket.socketTimeout` without a `socket.reconnectStrategy` closes the client for good; add one');
  }
  if (!options.pingInterval) {
    found.push('`socket.socketTimeout` without `pingInterval` closes idle connections; set `pingInterval: 500`');
  }
  return found;
}
