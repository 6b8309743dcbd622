import { createHash } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import { Redis } from 'ioredis';
import type { RedisServer } from './redis.js';

/** A proxy like Envoy or Twemproxy: sends each script to the server of its first key, and rejects other commands. */
export interface ShardingProxy {
  readonly port: number;
  close(): Promise<void>;
}

/** The index of the server of a key, by its hash tag. */
export function shardOf(key: string, servers: number): number {
  return (
    createHash('md5')
      .update(key.match(/\{(.+?)\}/)?.[1] ?? key)
      .digest()[0] % servers
  );
}

export async function startShardingProxy(servers: readonly RedisServer[]): Promise<ShardingProxy> {
  const clients = servers.map(({ url }) => new Redis(url, { protocol: 2 } as object));
  const sockets = new Set<Socket>();
  const execute = async ([name, ...args]: Buffer[]): Promise<Buffer> => {
    if (!/^eval(sha)?$/i.test(`${name}`)) return Buffer.from('-ERR unsupported command\r\n');
    try {
      const shard = clients[shardOf(`${args[2]}`, clients.length)];
      const reply = await shard.callBuffer(`${name}`, ...args);
      return Array.isArray(reply)
        ? Buffer.concat([Buffer.from(`*${reply.length}\r\n`), ...reply.map(bulkString)])
        : bulkString(reply as Buffer);
    } catch (error) {
      return Buffer.from(`-${(error as Error).message}\r\n`);
    }
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    let unread = Buffer.alloc(0);
    let replied = Promise.resolve();
    socket.on('error', () => {});
    socket.on('data', (data) => {
      unread = Buffer.concat([unread, data]);
      for (let parsed = parseCommand(unread); parsed; parsed = parseCommand(unread)) {
        unread = unread.subarray(parsed.length);
        const { args } = parsed;
        replied = replied.then(async () => void socket.write(await execute(args)));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = async () => {
    for (const socket of sockets) socket.destroy();
    for (const client of clients) client.disconnect();
    await new Promise((resolve) => server.close(resolve));
  };
  return { port: (server.address() as { port: number }).port, close };
}

function bulkString(value: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`$${value.length}\r\n`), value, Buffer.from('\r\n')]);
}

/** The first command in `data` and its length; `undefined` if it is not complete. */
function parseCommand(data: Buffer): { args: Buffer[]; length: number } | undefined {
  let at = 0;
  const readLine = (): string | undefined => {
    const end = data.indexOf('\r\n', at);
    if (end < 0) return undefined;
    const line = data.toString('latin1', at, end);
    at = end + 2;
    return line;
  };
  const count = readLine();
  if (count === undefined) return undefined;
  const args: Buffer[] = [];
  for (let i = 0; i < Number(count.slice(1)); i++) {
    const size = readLine();
    const end = at + Number(size?.slice(1));
    if (size === undefined || data.length < end + 2) return undefined;
    args.push(data.subarray(at, end));
    at = end + 2;
  }
  return { args, length: at };
}
