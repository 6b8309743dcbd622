import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { freePort, type RedisServer, startRedis } from './redis.js';

/** A failure of Redis, on its own server or port. */
export interface Fault {
  readonly name: string;
  /** Whether the whole store fails, or only the buckets that are affected. */
  readonly scope: 'store' | 'bucket';
  /** Whether the first calls fail immediately, or only at their deadline. */
  readonly fails: 'immediately' | 'at the deadline';
  /** What happens to the data; `none` if there was none. */
  readonly data: 'kept' | 'lost' | 'none';
  start(): Promise<Rig>;
}

/** A Redis that is ready to fail. */
export interface Rig {
  readonly url: string;
  /** Triggers the fault; `keys` are the Redis keys of the buckets in use. */
  break(keys: readonly string[]): Promise<void>;
  repair(): Promise<void>;
  close(): Promise<void>;
}

/** Opens a connection for the test itself, which retries until the server is reachable. */
export function connection(url: string): Redis {
  const client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 20 });
  client.on('error', () => {});
  return client;
}

const noop = async () => {};

/** A fault of a running server, triggered and repaired by commands or signals. */
function onServer(
  fault: Omit<Fault, 'start'>,
  trigger: (server: RedisServer, client: Redis, keys: readonly string[]) => Promise<unknown> | unknown,
  repair: (server: RedisServer, client: Redis, keys: readonly string[]) => Promise<unknown> | unknown,
  args: readonly string[] = [],
): Fault {
  const start = async (): Promise<Rig> => {
    const server = await startRedis({ args });
    const client = connection(server.url);
    let keys: readonly string[] = [];
    return {
      url: server.url,
      break: async (bucketKeys) => {
        keys = bucketKeys;
        await trigger(server, client, keys);
      },
      repair: async () => {
        await repair(server, client, keys);
      },
      close: async () => {
        client.disconnect();
        await server.kill();
      },
    };
  };
  return { ...fault, start };
}

/** A fault of a port on which something other than Redis listens, until it is repaired by starting Redis there. */
function onPort(fault: Omit<Fault, 'start' | 'data'>, occupy: (port: number) => Promise<() => Promise<void>>): Fault {
  const start = async (): Promise<Rig> => {
    const port = await freePort();
    const vacate = await occupy(port);
    let server: RedisServer | undefined;
    return {
      url: `redis://127.0.0.1:${port}`,
      break: noop,
      repair: async () => {
        await vacate();
        server = await startRedis({ port });
      },
      close: async () => {
        await vacate();
        await server?.kill();
      },
    };
  };
  return { ...fault, data: 'none', start };
}

/** Starts a TCP server that calls `onData` for each chunk it receives. Returns a function that stops it. */
export async function listen(
  port: number,
  onData: (socket: Socket, data: Buffer) => void,
): Promise<() => Promise<void>> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (data) => onData(socket, data));
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return async () => {
    for (const socket of sockets) socket.destroy();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
}

/** Counts the commands in a chunk: each is an array of bulk strings, which starts with `*` at the start of a line. */
function commandsIn(data: Buffer): number {
  return data.toString('latin1').split(/(?:^|\r\n)\*\d+\r\n/).length - 1;
}

/** A server that is restarted with a large dump, and loads it slowly. */
function loading(): Fault {
  const start = async (): Promise<Rig> => {
    const dir = mkdtempSync(join(tmpdir(), 'nest-rate-limit-dump-'));
    const args = ['--dir', dir, '--dbfilename', 'dump.rdb'];
    let server = await startRedis({ args });
    const client = connection(server.url);
    return {
      url: server.url,
      break: async () => {
        const fill = "for i = 1, 1500 do redis.call('SET', 'filler' .. i, string.rep('x', 100)) end";
        await client.eval(fill, 0);
        await client.save();
        await server.kill();
        const slowLoading = ['--key-load-delay', '1000', '--loading-process-events-interval-bytes', '1024'];
        server = await startRedis({ port: server.port, args: [...args, ...slowLoading] });
      },
      repair: async () => {
        while (!(await client.info('persistence')).includes('\nloading:0')) await sleep(10);
      },
      close: async () => {
        client.disconnect();
        await server.kill();
        rmSync(dir, { recursive: true, force: true });
      },
    };
  };
  return { name: 'restarted, loading its data', scope: 'store', fails: 'immediately', data: 'kept', start };
}

function killed(): Fault {
  const start = async (): Promise<Rig> => {
    let server = await startRedis();
    return {
      url: server.url,
      break: () => server.kill(),
      repair: async () => {
        server = await startRedis({ port: server.port });
      },
      close: () => server.kill(),
    };
  };
  return { name: 'killed, restarted empty', scope: 'store', fails: 'immediately', data: 'lost', start };
}

export const FAULTS: readonly Fault[] = [
  onPort({ name: 'never started', scope: 'store', fails: 'immediately' }, async () => noop),
  onPort({ name: 'accepts connections but never replies', scope: 'store', fails: 'immediately' }, (port) =>
    listen(port, () => {}),
  ),
  onPort({ name: 'does not speak the Redis protocol', scope: 'store', fails: 'immediately' }, (port) =>
    listen(port, (socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')),
  ),
  onPort({ name: 'replies to every command with a number', scope: 'store', fails: 'immediately' }, (port) =>
    listen(port, (socket, data) => socket.write(':42\r\n'.repeat(commandsIn(data)))),
  ),
  onServer(
    {
      name: 'suspended (or host lost without closing connections)',
      scope: 'store',
      fails: 'at the deadline',
      data: 'kept',
    },
    (server) => server.pause(),
    (server) => server.resume(),
  ),
  onServer(
    { name: 'clients paused (`CLIENT PAUSE`)', scope: 'store', fails: 'at the deadline', data: 'kept' },
    // Longer than all decisions during the fault together, and shorter than `socketTimeout`.
    (_, client) => client.client('PAUSE', 1900),
    (_, client) => client.ping(), // replies once the pause has ended
  ),
  killed(),
  loading(),
  onServer(
    { name: 'demoted to a read-only replica', scope: 'store', fails: 'immediately', data: 'kept' },
    (_, client) => client.replicaof('127.0.0.1', '1'),
    (_, client) => client.replicaof('NO', 'ONE'),
  ),
  onServer(
    { name: 'out of memory (`noeviction`)', scope: 'store', fails: 'immediately', data: 'kept' },
    (_, client) => client.config('SET', 'maxmemory', '1mb'),
    (_, client) => client.config('SET', 'maxmemory', '0'),
  ),
  onServer(
    { name: 'too few replicas to accept writes', scope: 'store', fails: 'immediately', data: 'kept' },
    (_, client) => client.config('SET', 'min-replicas-to-write', '1'),
    (_, client) => client.config('SET', 'min-replicas-to-write', '0'),
  ),
  onServer(
    { name: 'password changed', scope: 'store', fails: 'immediately', data: 'kept' },
    async (_, client) => {
      await client.config('SET', 'requirepass', 'another');
      await client.call('CLIENT', 'KILL', 'TYPE', 'normal');
    },
    (_, client) => client.config('SET', 'requirepass', ''),
  ),
  onServer(
    { name: 'busy with an endless script', scope: 'store', fails: 'immediately', data: 'kept' },
    async (server, client) => {
      const blocker = connection(server.url);
      blocker
        .eval('while true do end', 0)
        .catch(() => {})
        .finally(() => blocker.disconnect());
      // Redis replies BUSY once the script has run for `busy-reply-threshold` ms.
      while (!(await client.get('x').catch((error: Error) => error.message))?.startsWith('BUSY')) await sleep(5);
    },
    (_, client) => client.script('KILL'),
    ['--busy-reply-threshold', '20'],
  ),
  onServer(
    { name: 'key holds another type', scope: 'bucket', fails: 'immediately', data: 'kept' },
    async (_, client, keys) => {
      for (const key of keys) await client.multi().del(key).lpush(key, 'x').exec();
    },
    (_, client, keys) => client.del(...keys),
  ),
  onServer(
    { name: 'key holds foreign bytes', scope: 'bucket', fails: 'immediately', data: 'kept' },
    async (_, client, keys) => {
      for (const key of keys) await client.set(key, 'foreign');
    },
    (_, client, keys) => client.del(...keys),
  ),
];
