import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/*
 * Provides the tests with a real Redis. The default export is Jest's global setup; tests import the rest. Jest loads the
 * setup without the module mapper, so this file must not import anything from the project.
 */

export interface RedisServer {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Shuts down the server (SIGTERM). Resolves when the process has exited. */
  stop(): Promise<void>;
  /** Kills the server (SIGKILL). Resolves when the process has exited and its data is deleted. */
  kill(): Promise<void>;
  /** Suspends the server (SIGSTOP): connections stay open, but it does not reply. */
  pause(): void;
  /** Resumes the server after `pause` (SIGCONT). */
  resume(): void;
}

export interface RedisOptions {
  /** The port, for example that of a killed server. Default: a free one. */
  readonly port?: number;
  /** Additional server arguments, such as `['--maxmemory', '2mb']`. */
  readonly args?: readonly string[];
  /** A Sentinel configuration file, which must set `port`. Starts a Sentinel instead of a server. */
  readonly sentinel?: string;
}

/** Returns the URL of the Redis that all test files share. Each file uses its own key prefix. */
export function redisUrl(): string {
  const url = process.env.TEST_REDIS_URL;
  if (!url) throw new Error('TEST_REDIS_URL is not set: run the tests with `npm test`');
  return url;
}

/** Starts a private server on 127.0.0.1. It exits with the process that started it, even if that one crashes. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const binary = redisBinary();
  const port = options.port ?? (await freePort());
  const dir = mkdtempSync(join(tmpdir(), 'nest-rate-limit-redis-'));
  const serverArgs = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'no'];
  const args = options.sentinel ? [options.sentinel, '--sentinel'] : serverArgs;
  const supervisor = spawn('sh', ['-c', SUPERVISOR, 'supervisor', dir, binary, ...args, ...(options.args ?? [])], {
    detached: true, // Ctrl+C must reach this process, not the supervisor
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const exited = once(supervisor, 'close');
  let output = '';
  for (const stream of [supervisor.stdout, supervisor.stderr]) stream.on('data', (chunk) => (output += chunk));
  // The server must not prevent Jest from exiting.
  supervisor.unref();
  for (const stream of [supervisor.stdin, supervisor.stdout, supervisor.stderr]) (stream as unknown as Socket).unref();

  while (!output || !(await replies(port))) {
    if (supervisor.exitCode !== null) throw new Error(`Redis did not start on port ${port}:\n${output}`);
    await sleep(10);
  }
  const pid = Number.parseInt(output, 10);
  const send = (signal: NodeJS.Signals) => {
    try {
      if (supervisor.exitCode === null) process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // exited in the meantime
    }
  };
  const end = async (signal: NodeJS.Signals) => {
    send(signal);
    send('SIGCONT'); // a suspended server does not handle SIGTERM
    await exited;
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    pid,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    pause: () => send('SIGSTOP'),
    resume: () => send('SIGCONT'),
  };
}

/** The message brokers of the tests, and the variables with the URLs of others to use. */
const BROKERS = { 'nats-server': 'NATS_URL', mosquitto: 'MQTT_URL', 'rabbitmq-server': 'RABBITMQ_URL' };

/** Installs brokers here, because several workers that install at the same time would start their services. */
function installBrokers(): void {
  for (const [name, variable] of Object.entries(BROKERS)) {
    if (mayInstall() && !process.env[variable] && !onPath(name)) install(name, howToInstall(name, variable));
  }
}

export function howToInstall(name: string, variable: string): string {
  return `These tests need a real broker: set ${variable}, or install ${name}.`;
}

/** Jest's global setup: uses `REDIS_URL`, or starts a server (`REDIS_SERVER`), which exits with this process. */
export default async function setup(): Promise<void> {
  try {
    // With REDIS_URL set and no binary, only the tests that start their own server fail.
    if (!findBinary() && !(process.env.REDIS_URL && !mayInstall())) install('redis-server', HOW_TO_INSTALL);
    const { REDIS_SERVER, REDIS_URL } = process.env;
    process.env.TEST_REDIS_URL ??= (!REDIS_SERVER && REDIS_URL) || (await startRedis()).url;
    installBrokers();
  } catch (error) {
    console.error((error as Error).message);
    process.exit(1);
  }
}

/**
 * Prints the server's pid, waits for it to exit, and removes its directory. Standard input is a pipe from this process.
 * The pipe closes when this process ends for any reason, even SIGKILL, and then the supervisor kills the server.
 */
const SUPERVISOR = `
trap '' PIPE
dir=$1; shift
exec 3<&0
sh -c 'echo $$; exec "$@"' server "$@" 3<&- & pid=$!
(cat <&3 >/dev/null; kill -KILL $pid) & watch=$!
wait $pid
kill $watch
rm -rf "$dir"
`;

const HOW_TO_INSTALL =
  'The tests need a real Redis: set REDIS_URL, or install redis-server or valkey-server (for example `apt-get install redis-server`, `brew install redis`).';

function findBinary(): string | undefined {
  return process.env.REDIS_SERVER || (onPath('redis-server') ?? onPath('valkey-server'));
}

/** The server that `startRedis` runs: `REDIS_SERVER`, or one on the PATH. */
export function redisBinary(): string {
  const binary = findBinary();
  if (!binary) throw new Error(HOW_TO_INSTALL);
  return binary;
}

export function onPath(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((dir) => join(dir, name))
    .find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function mayInstall(): boolean {
  return process.getuid?.() === 0 && existsSync('/etc/debian_version') && onPath('apt-get') !== undefined;
}

/** Installs a Debian package without starting its service. Throws an error with `howTo` if it must not or cannot. */
export function install(name: string, howTo: string): void {
  if (!mayInstall()) throw new Error(howTo);
  console.log(`No ${name} found: installing it with apt-get.`);
  const policy = '/usr/sbin/policy-rc.d';
  const created = !existsSync(policy);
  if (created) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    // The first attempt fails if the package lists are missing or outdated.
    if (!aptGet('install', '-y', '--no-install-recommends', name).ok) {
      aptGet('update');
      const { ok, output } = aptGet('install', '-y', '--no-install-recommends', name);
      if (!ok) throw new Error(`${howTo}\n${output}`);
    }
  } finally {
    if (created) rmSync(policy);
  }
}

function aptGet(...args: string[]): { ok: boolean; output: string } {
  const { status, stdout, stderr } = spawnSync('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=120', ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return { ok: status === 0, output: `${stdout}${stderr}` };
}

/** Offset of the cluster bus port from the port of a node. */
const BUS_OFFSET = 10_000;

/** Returns a port that is free together with its bus port, both below the ephemeral range of the system. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 10_000);
    if ((await isFree(port)) && (await isFree(port + BUS_OFFSET))) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  const free = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
  });
  if (free) await new Promise((resolve) => server.close(resolve));
  return free;
}

/** Returns whether a server on the port replies to PING; an error such as NOAUTH counts as a reply. */
function replies(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
    const settle = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1000, () => settle(false));
    socket
      .once('data', () => settle(true))
      .once('error', () => settle(false))
      .once('close', () => settle(false));
  });
}
