import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { freePort, onPath, type RedisServer, startRedis } from './redis.js';
import { until } from './requests.js';
import { TcpProxy } from './tcp-proxy.js';

const run = promisify(execFile);
const FAST = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];

/** A group of servers; `stop` kills them all. */
interface Group {
  readonly servers: readonly RedisServer[];
  stop(): Promise<void>;
}

async function startAll(count: number, args: (port: number) => readonly string[]): Promise<RedisServer[]> {
  const servers: RedisServer[] = [];
  for (let i = 0; i < count; i++) {
    const port = await freePort();
    servers.push(await startRedis({ port, args: args(port) }));
  }
  return servers;
}

/** Runs `use` with a temporary connection to one server. */
export async function withClient<T>(url: string, use: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, { retryStrategy: () => null });
  client.on('error', () => {});
  try {
    return await use(client);
  } finally {
    client.disconnect();
  }
}

/** Waits until `condition` holds. Errors count as false, because the servers may still be starting. */
const settled = (condition: () => Promise<boolean>) => until(() => condition().catch(() => false), 10_000, 25);

/** Makes a server with `--cluster-enabled` a Cluster of one node. */
export async function addAllSlots(admin: Redis): Promise<void> {
  await admin.cluster('ADDSLOTS', ...Array.from({ length: 16_384 }, (_, slot) => slot));
  await settled(async () => (await admin.cluster('INFO')).includes('cluster_state:ok'));
}

/** A server behind a proxy. */
export interface Proxied {
  readonly server: RedisServer;
  readonly proxy: TcpProxy;
  stop(): Promise<void>;
}

/** Starts a server behind a proxy; with `isCluster` a Cluster of one node, whose clients connect to the proxy. */
export async function startProxied(isCluster = false): Promise<Proxied> {
  const port = await freePort();
  const proxy = await TcpProxy.open(port);
  const announced = ['--cluster-announce-ip', '127.0.0.1', '--cluster-announce-port', new URL(proxy.url).port];
  const server = await startRedis({ port, args: isCluster ? ['--cluster-enabled', 'yes', ...announced] : [] });
  if (isCluster) await withClient(server.url, addAllSlots);
  const stop = async () => {
    await proxy.close();
    await server.kill();
  };
  return { server, proxy, stop };
}

/** Starts a Sentinel that monitors the master at `url` as `main`. It never fails over. */
export async function startSentinel(url: string): Promise<RedisServer> {
  const dir = mkdtempSync(join(tmpdir(), 'nest-rate-limit-sentinel-'));
  const port = await freePort();
  const config = join(dir, 'sentinel.conf');
  writeFileSync(config, `port ${port}\nsentinel monitor main 127.0.0.1 ${new URL(url).port} 2\n`);
  return startRedis({ port, sentinel: config });
}

/** Starts a Cluster of three masters with one replica each, on the loopback interface. */
export async function startCluster(): Promise<Group> {
  const servers = await startAll(6, () => ['--cluster-enabled', 'yes', '--cluster-node-timeout', '1000', ...FAST]);
  const stop = async () => {
    await Promise.all(servers.map((server) => server.kill()));
  };
  try {
    const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
    await run(onPath('redis-cli') ?? 'valkey-cli', [
      '--cluster',
      'create',
      ...addresses,
      '--cluster-replicas',
      '1',
      '--cluster-yes',
    ]);
    for (const { url } of servers) {
      await settled(async () => {
        const [info, replication] = await withClient(url, (node) =>
          Promise.all([node.cluster('INFO'), node.info('replication')]),
        );
        return (
          info.includes('cluster_state:ok') &&
          /role:master[\s\S]*connected_slaves:1|master_link_status:up/.test(replication)
        );
      });
    }
    return { servers, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Starts a master, two replicas, and three Sentinels that monitor the master as `main`. */
export async function startSentinels(): Promise<Group & { readonly sentinels: { host: string; port: number }[] }> {
  const dir = mkdtempSync(join(tmpdir(), 'nest-rate-limit-sentinel-'));
  const servers: RedisServer[] = [];
  const stop = async () => {
    await Promise.all(servers.map((server) => server.kill()));
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const [master] = await startAll(1, () => FAST);
    servers.push(master);
    servers.push(...(await startAll(2, () => ['--replicaof', '127.0.0.1', `${master.port}`, ...FAST])));
    const online = (count: number) => async () =>
      (await withClient(master.url, (client) => client.info('replication'))).split('state=online').length - 1 === count;
    await settled(online(2));
    const sentinels = [];
    for (let i = 0; i < 3; i++) {
      const config = join(dir, `${i}.conf`);
      const port = await freePort();
      const settings = [
        `port ${port}`,
        `sentinel monitor main 127.0.0.1 ${master.port} 2`,
        'sentinel down-after-milliseconds main 500',
        'sentinel failover-timeout main 2000',
      ];
      writeFileSync(config, settings.join('\n'));
      servers.push(await startRedis({ port, sentinel: config }));
      sentinels.push({ host: '127.0.0.1', port });
    }
    // A Sentinel can vote only once it knows the replicas and the other Sentinels.
    for (const { port } of sentinels) {
      await settled(async () => {
        const url = `redis://127.0.0.1:${port}`;
        const known = (await withClient(url, (sentinel) => sentinel.call('SENTINEL', 'MASTER', 'main'))) as string[];
        const fields = Array.isArray(known) ? known : Object.entries(known as object).flat();
        const field = (name: string) => Number(fields[fields.indexOf(name) + 1]);
        return field('num-slaves') === 2 && field('num-other-sentinels') === 2;
      });
    }
    return { servers, sentinels, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
