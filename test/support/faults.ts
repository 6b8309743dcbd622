import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { freePort, type RedisServer, startRedis } from './redis.js';

/** Something that goes wrong with a Redis, on a server or a port of its own. */
export interface Fault {
  readonly name: string;
  /** What a test can tell by looking: the whole store fails, or only the bucket that was touched. */
  readonly scope: 'store' | 'bucket';
  /** How the first answers come: at once, or when the deadline has passed. */
  readonly answers: 'at once' | 'by the deadline';
  /** What becomes of the data that was there. */
  readonly data: 'kept' | 'lost' | 'none';
  start(): Promise<Rig>;
}

/** A fault that is set up. */
export interface Rig {
  readonly url: string;
  /** Lets it happen; `keys` are those of the buckets in use. */
  break(keys: readonly string[]): Promise<void>;
  mend(): Promise<void>;
  close(): Promise<void>;
}

/** A connection for the test itself, which waits for the server. */
export function connection(url: string): Redis {
  const client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 20 });
  client.on('error', () => {});
  return client;
}

const nothing = async () => {};

/** A fault of a server that runs, done and undone by commands or signals. */
function onServer(
  fault: Omit<Fault, 'start'>,
  bring: (server: RedisServer, client: Redis, keys: readonly string[]) => Promise<unknown> | unknown,
  mend: (server: RedisServer, client: Redis, keys: readonly string[]) => Promise<unknown> | unknown,
  args: readonly string[] = [],
): Fault {
  const start = async (): Promise<Rig> => {
    const server = await startRedis({ args });
    const client = connection(server.url);
    let keys: readonly string[] = [];
    return {
      url: server.url,
      break: async (found) => {
        keys = found;
        await bring(server, client, keys);
      },
      mend: async () => {
        await mend(server, client, keys);
      },
      close: async () => {
        client.disconnect();
        await server.kill();
      },
    };
  };
  return { ...fault, start };
}

/** A fault of a port on which something else than a Redis stands, until one does. */
function onPort(fault: Omit<Fault, 'start' | 'data'>, stand: (port: number) => Promise<() => Promise<void>>): Fault {
  const start = async (): Promise<Rig> => {
    const port = await freePort();
    const leave = await stand(port);
    let server: RedisServer | undefined;
    return {
      url: `redis://127.0.0.1:${port}`,
      break: nothing,
      mend: async () => {
        await leave();
        server = await startRedis({ port });
      },
      close: async () => {
        await leave();
        await server?.kill();
      },
    };
  };
  return { ...fault, data: 'none', start };
}

/** A TCP server; `answer` is called for whatever comes. Returns the way to end it. */
export async function listen(
  port: number,
  answer: (socket: Socket, data: Buffer) => void,
): Promise<() => Promise<void>> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (data) => answer(socket, data));
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return async () => {
    for (const socket of sockets) socket.destroy();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
}

/** One reply per command: a command is an array of bulk strings and starts a line with `*`. */
function commandsIn(data: Buffer): number {
  return data.toString('latin1').split(/(?:^|\r\n)\*\d+\r\n/).length - 1;
}

/** A server that is restarted on a big dump, and loads it slowly. */
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
        const slowly = ['--key-load-delay', '1000', '--loading-process-events-interval-bytes', '1024'];
        server = await startRedis({ port: server.port, args: [...args, ...slowly] });
      },
      mend: async () => {
        while (!(await client.info('persistence')).includes('\nloading:0')) await sleep(10);
      },
      close: async () => {
        client.disconnect();
        await server.kill();
        rmSync(dir, { recursive: true, force: true });
      },
    };
  };
  return { name: 'restarted, loading its data', scope: 'store', answers: 'at once', data: 'kept', start };
}

function killed(): Fault {
  const start = async (): Promise<Rig> => {
    let server = await startRedis();
    return {
      url: server.url,
      break: () => server.kill(),
      mend: async () => {
        server = await startRedis({ port: server.port });
      },
      close: () => server.kill(),
    };
  };
  return { name: 'killed, restarted empty', scope: 'store', answers: 'at once', data: 'lost', start };
}

export const FAULTS: readonly Fault[] = [
  onPort({ name: 'never started', scope: 'store', answers: 'at once' }, async () => nothing),
  onPort({ name: 'accepts connections and never answers', scope: 'store', answers: 'at once' }, (port) =>
    listen(port, () => {}),
  ),
  onPort({ name: 'answers what is no Redis protocol', scope: 'store', answers: 'at once' }, (port) =>
    listen(port, (socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')),
  ),
  onPort({ name: 'answers every command with a number', scope: 'store', answers: 'at once' }, (port) =>
    listen(port, (socket, data) => socket.write(':42\r\n'.repeat(commandsIn(data)))),
  ),
  onServer(
    { name: 'paused (or its host gone without a word)', scope: 'store', answers: 'by the deadline', data: 'kept' },
    (server) => server.pause(),
    (server) => server.resume(),
  ),
  onServer(
    { name: 'holds its clients back (`CLIENT PAUSE`)', scope: 'store', answers: 'by the deadline', data: 'kept' },
    (_, client) => client.client('PAUSE', 900),
    (_, client) => client.ping(), // answered when that is over
  ),
  killed(),
  loading(),
  onServer(
    { name: 'a read-only replica', scope: 'store', answers: 'at once', data: 'kept' },
    (_, client) => client.replicaof('127.0.0.1', '1'),
    (_, client) => client.replicaof('NO', 'ONE'),
  ),
  onServer(
    { name: 'out of memory (noeviction)', scope: 'store', answers: 'at once', data: 'kept' },
    (_, client) => client.config('SET', 'maxmemory', '1mb'),
    (_, client) => client.config('SET', 'maxmemory', '0'),
  ),
  onServer(
    { name: 'has too few replicas to write', scope: 'store', answers: 'at once', data: 'kept' },
    (_, client) => client.config('SET', 'min-replicas-to-write', '1'),
    (_, client) => client.config('SET', 'min-replicas-to-write', '0'),
  ),
  onServer(
    { name: 'asks for another password', scope: 'store', answers: 'at once', data: 'kept' },
    async (_, client) => {
      await client.config('SET', 'requirepass', 'another');
      await client.call('CLIENT', 'KILL', 'TYPE', 'normal');
    },
    (_, client) => client.config('SET', 'requirepass', ''),
  ),
  onServer(
    { name: 'busy with an endless script', scope: 'store', answers: 'at once', data: 'kept' },
    async (server, client) => {
      const other = connection(server.url);
      other
        .eval('while true do end', 0)
        .catch(() => {})
        .finally(() => other.disconnect());
      // It says BUSY when the script has run for so long.
      while (!(await client.get('x').catch((error: Error) => error.message))?.startsWith('BUSY')) await sleep(5);
    },
    (_, client) => client.script('KILL'),
    ['--busy-reply-threshold', '20'],
  ),
  onServer(
    { name: 'a key of another type', scope: 'bucket', answers: 'at once', data: 'kept' },
    async (_, client, keys) => {
      for (const key of keys) await client.multi().del(key).lpush(key, 'x').exec();
    },
    (_, client, keys) => client.del(...keys),
  ),
  onServer(
    { name: 'foreign bytes in a key', scope: 'bucket', answers: 'at once', data: 'kept' },
    async (_, client, keys) => {
      for (const key of keys) await client.set(key, 'foreign');
    },
    (_, client, keys) => client.del(...keys),
  ),
];
