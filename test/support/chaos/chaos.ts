import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { BucketService, RedisStore } from '../../../src/index.js';
import { connection } from '../faults.js';
import { Random } from '../random.js';
import { freePort, type RedisServer, startRedis } from '../redis.js';
import { until } from '../requests.js';
import { TcpProxy } from '../tcp-proxy.js';
import type { Run } from './books.js';
import type { Disturbance } from './faults.js';
import { type Journal, OVERRUN, POOL, POOL_BALANCE, QUEUE, REFUNDED } from './journal.js';

const PREFIX = 'chaos:';
/** Every write is on disk before it is acknowledged, so that a restart loses nothing. */
const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always'];
const REPLICATION = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];

interface Setup {
  /** The compiled worker. */
  readonly script: string;
  readonly seed: number;
  readonly processes: number;
  /** Whether the test sets the clock. */
  readonly stepped?: boolean;
  /** The library of the clients. Default: ioredis, which the module opens. */
  readonly client?: 'node-redis' | 'Valkey GLIDE';
}

/** Processes that share limits in a master and its replica, and a proxy between them. */
export class Chaos {
  readonly workers: ChildProcess[] = [];
  forward = 0;
  stepsBack = 0;
  private readonly exits: Promise<unknown>[] = [];
  private readonly journals: Promise<Journal>[] = [];
  private readonly started = performance.now();

  private constructor(
    readonly proxy: TcpProxy,
    private readonly servers: { master: RedisServer; replica: RedisServer },
    private readonly dirs: Map<number, string>,
    /** A connection to the master, beside the proxy. */
    public admin: Redis,
  ) {}

  static async start({ script, seed, processes, stepped, client }: Setup): Promise<Chaos> {
    const dirs = new Map<number, string>();
    const master = await startServer(dirs);
    const replica = await startServer(dirs, ['--replicaof', '127.0.0.1', `${master.port}`]);
    const proxy = await TcpProxy.open(master.port);
    const chaos = new Chaos(proxy, { master, replica }, dirs, connection(master.url));
    await chaos.inSync();
    await chaos.buckets.bucket(POOL, 'a').charge(POOL.capacity - POOL_BALANCE);
    await Promise.all(
      Array.from({ length: processes }, async (_, i) => {
        const args = [proxy.url, PREFIX, `${seed * 10 + i}`, stepped ? 'stepped' : 'server', client ?? 'ioredis'];
        const worker = fork(script, args, { execArgv: [] });
        chaos.workers.push(worker);
        chaos.exits.push(once(worker, 'exit'));
        await message(worker);
        chaos.journals.push(message(worker).then((journal) => journal as Journal));
      }),
    );
    return chaos;
  }

  get master(): RedisServer {
    return this.servers.master;
  }

  /** Disturbs for `ms`; the seed determines how. Returns what was done. */
  async disturb(kinds: Readonly<Record<string, Disturbance>>, ms: number, random: Random): Promise<string[]> {
    const done: string[] = [];
    for (const end = performance.now() + ms; performance.now() < end; ) {
      const name = random.pick(Object.keys(kinds));
      done.push(name);
      await kinds[name](this, random);
      await sleep(random.between(0, 400));
    }
    return done;
  }

  /** Stops the processes, waits for their journals and reads the balances. */
  async finish(): Promise<{ run: Run; incidents: string[] }> {
    // What could not be settled is settled once Redis has been back for a moment.
    await sleep(1500);
    for (const worker of this.workers) worker.send({ stop: true });
    const journals = await Promise.all(this.journals);
    for (const worker of this.workers) worker.disconnect();
    await Promise.all(this.exits);
    const elapsed = performance.now() - this.started;
    const { forward, stepsBack } = this;
    const processes = journals.map(({ entries }) => entries);
    const run = { processes, elapsed, forward, stepsBack, balances: await this.balances() };
    return { run, incidents: journals.flatMap(({ incidents }) => incidents) };
  }

  async close(): Promise<void> {
    for (const worker of this.workers) worker.kill('SIGKILL');
    this.admin.disconnect();
    await this.proxy.close();
    await Promise.all([this.servers.master.kill(), this.servers.replica.kill()]);
    for (const dir of this.dirs.values()) rmSync(dir, { recursive: true, force: true });
  }

  async restart(): Promise<void> {
    const { port } = this.servers.master;
    await this.servers.master.stop();
    await sleep(100);
    this.servers.master = await startServer(this.dirs, [], port);
    await this.inSync();
  }

  /** Makes the replica the master, without losing a write. */
  async failOver(): Promise<void> {
    const { master, replica } = this.servers;
    await this.admin.call('FAILOVER', 'TO', '127.0.0.1', `${replica.port}`);
    this.servers.master = replica;
    this.servers.replica = master;
    this.admin.disconnect();
    this.admin = connection(replica.url);
    await until(async () => (await this.admin.info('replication')).includes('role:master'), 5000, 5);
    this.proxy.target = replica.port;
    await this.inSync();
  }

  step(ms: number): void {
    if (ms > 0) this.forward += ms;
    else this.stepsBack++;
    for (const worker of this.workers) worker.send({ step: ms });
  }

  private get buckets(): BucketService {
    return new BucketService(new RedisStore({ client: this.admin, prefix: PREFIX }));
  }

  private async inSync(): Promise<void> {
    await until(async () => (await this.admin.info('replication')).includes('state=online'), 10_000, 10);
  }

  private async balances(): Promise<Run['balances']> {
    // From empty to full, if no reservation is left.
    await sleep((QUEUE.capacity / QUEUE.refill) * 1000);
    const available = (policy: object, key: string) => this.buckets.bucket(policy, key).available();
    return {
      pool: await available(POOL, 'a'),
      refunded: await available(REFUNDED, 'all'),
      overrun: await available(OVERRUN, 'all'),
      queue: await available(QUEUE, 'a'),
    };
  }
}

async function startServer(
  dirs: Map<number, string>,
  args: readonly string[] = [],
  reused?: number,
): Promise<RedisServer> {
  const port = reused ?? (await freePort());
  const dir = dirs.get(port) ?? mkdtempSync(join(tmpdir(), 'nest-rate-limit-chaos-'));
  dirs.set(port, dir);
  return startRedis({ port, args: ['--dir', dir, ...DURABLE, ...REPLICATION, ...args] });
}

/** The next message of a process. */
async function message(worker: ChildProcess): Promise<unknown> {
  const ended = once(worker, 'exit').then(([code]) => {
    throw new Error(`A process exited with ${code}`);
  });
  const [received] = (await Promise.race([once(worker, 'message'), ended])) as [unknown];
  return received;
}
