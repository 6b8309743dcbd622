import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { freePort, type RedisServer, startRedis } from './redis.js';
import { until } from './requests.js';

const run = promisify(execFile);
const FAST = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];

/** What several servers are together; `stop` ends them all. */
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

/** Asks one server something. */
export async function ask<T>(url: string, what: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, { retryStrategy: () => null });
  client.on('error', () => {});
  try {
    return await what(client);
  } finally {
    client.disconnect();
  }
}

/** Waits until it holds of servers that may not answer yet. */
const settled = (holds: () => Promise<boolean>) => until(() => holds().catch(() => false), 10_000, 25);

/** A Cluster of three masters with a replica each, on the loopback interface. */
export async function startCluster(): Promise<Group> {
  const servers = await startAll(6, () => ['--cluster-enabled', 'yes', '--cluster-node-timeout', '1000', ...FAST]);
  const stop = async () => {
    await Promise.all(servers.map((server) => server.kill()));
  };
  try {
    const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
    await run('redis-cli', ['--cluster', 'create', ...addresses, '--cluster-replicas', '1', '--cluster-yes']);
    for (const { url } of servers) {
      await settled(async () => {
        const [info, replication] = await ask(url, (one) =>
          Promise.all([one.cluster('INFO'), one.info('replication')]),
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

/** A master, two replicas, and three Sentinels that watch it under the name `main`. */
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
    servers.push(...(await startAll(2, () => ['--replicaof', `127.0.0.1 ${master.port}`, ...FAST])));
    const online = (count: number) => async () =>
      (await ask(master.url, (one) => one.info('replication'))).split('state=online').length - 1 === count;
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
    // Each must know the replicas and the other Sentinels, or it cannot vote.
    for (const { port } of sentinels) {
      await settled(async () => {
        const url = `redis://127.0.0.1:${port}`;
        const known = (await ask(url, (one) => one.call('SENTINEL', 'MASTER', 'main'))) as string[];
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
