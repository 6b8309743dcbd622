import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/*
 * How the tests get a real Redis. This file is Jest's global setup (its default export) and what a test
 * imports. Jest loads the setup without the module mapper: so this file imports nothing of the project.
 */

export interface RedisServer {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Orderly end (SIGTERM). Resolves when the process is gone. */
  stop(): Promise<void>;
  /** Sudden end (SIGKILL). Resolves when the process is gone; nothing of its data is left. */
  kill(): Promise<void>;
  /** Freezes the server (SIGSTOP): connections stay open, nothing is answered. */
  pause(): void;
  /** Goes on after `pause` (SIGCONT). */
  resume(): void;
}

export interface RedisOptions {
  /** A port to take again, say, after `kill`. Default: a free one. */
  readonly port?: number;
  /** Further arguments of the server, such as `['--maxmemory', '2mb']`. */
  readonly args?: readonly string[];
  /** A configuration file: starts a Sentinel with it instead of a server. It says the port, too. */
  readonly sentinel?: string;
}

/** Address of the Redis that all test files share. Each file keeps to its own key prefix. */
export function redisUrl(): string {
  const url = process.env.TEST_REDIS_URL;
  if (!url) throw new Error('TEST_REDIS_URL is not set: run the tests with `npm test`');
  return url;
}

/** Starts a private server on 127.0.0.1. It ends with the process that started it, whatever happens. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const binary = findBinary();
  if (!binary) throw new Error(HOW_TO_INSTALL);
  const port = options.port ?? (await freePort());
  const dir = mkdtempSync(join(tmpdir(), 'nest-rate-limit-redis-'));
  const ofServer = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'no'];
  const args = options.sentinel ? [options.sentinel, '--sentinel'] : ofServer;
  const keeper = spawn('sh', ['-c', KEEPER, 'keeper', dir, binary, ...args, ...(options.args ?? [])], {
    detached: true, // an interrupt from the terminal must reach us, not the keeper
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const gone = once(keeper, 'close');
  let output = '';
  for (const stream of [keeper.stdout, keeper.stderr]) stream.on('data', (chunk) => (output += chunk));
  // The server must not keep Jest from ending.
  keeper.unref();
  for (const stream of [keeper.stdin, keeper.stdout, keeper.stderr]) (stream as unknown as Socket).unref();

  while (!output || !(await answers(port))) {
    if (keeper.exitCode !== null) throw new Error(`Redis did not start on port ${port}:\n${output}`);
    await sleep(10);
  }
  const pid = Number.parseInt(output, 10);
  const send = (signal: NodeJS.Signals) => {
    try {
      if (keeper.exitCode === null) process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // gone in between
    }
  };
  const end = async (signal: NodeJS.Signals) => {
    send(signal);
    send('SIGCONT'); // a paused server does not hear SIGTERM
    await gone;
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

/** Jest's global setup: `REDIS_URL`, or a server of our own, which ends with this process. */
export default async function setup(): Promise<void> {
  try {
    // Where REDIS_URL is set, only tests that start a server of their own will fail.
    if (!findBinary() && !(process.env.REDIS_URL && !mayInstall())) install('redis-server', HOW_TO_INSTALL);
    process.env.TEST_REDIS_URL ??= process.env.REDIS_URL || (await startRedis()).url;
  } catch (error) {
    console.error((error as Error).message);
    process.exit(1);
  }
}

/**
 * Prints the server's pid, waits for its end, and removes its directory. Its standard input is a pipe from
 * us: the pipe closes when our process ends in any way, SIGKILL included, and then the server is killed.
 */
const KEEPER = `
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
  return onPath('redis-server') ?? onPath('valkey-server');
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

/** Installs a package of Debian, without letting it start its own service; where it may not, says what to do. */
export function install(name: string, howTo: string): void {
  if (!mayInstall()) throw new Error(howTo);
  console.log(`No ${name} found: installing it with apt-get.`);
  const policy = '/usr/sbin/policy-rc.d';
  const ours = !existsSync(policy);
  if (ours) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    // The package lists may be missing or old: then the first try fails.
    if (!aptGet('install', '-y', '--no-install-recommends', name).ok) {
      aptGet('update');
      const { ok, output } = aptGet('install', '-y', '--no-install-recommends', name);
      if (!ok) throw new Error(`${howTo}\n${output}`);
    }
  } finally {
    if (ours) rmSync(policy);
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

/** A cluster's nodes talk on a port that is so much higher. */
const BUS = 10_000;

/** A free port whose bus port is free, too; both below those that the system takes for outgoing connections. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 10_000);
    if ((await isFree(port)) && (await isFree(port + BUS))) return port;
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

/** Whether something on the port answers a PING (an error such as NOAUTH is an answer, too). */
function answers(port: number): Promise<boolean> {
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
