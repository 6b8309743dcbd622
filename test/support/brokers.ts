import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, howToInstall, onPath } from './redis.js';

/** A message broker on 127.0.0.1. It exits with the process that started it, even if that one crashes. */
export interface Broker {
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts a NATS server with JetStream, or uses `NATS_URL`. */
export async function startNats(): Promise<Broker> {
  if (process.env.NATS_URL) return { url: process.env.NATS_URL, stop: async () => {} };
  const binary = find('nats-server', 'NATS_URL');
  const port = await freePort();
  const dir = folder();
  const stop = await run(dir, port, [binary, '-a', '127.0.0.1', '-p', `${port}`, '-js', '-sd', dir]);
  return { url: `nats://127.0.0.1:${port}`, stop };
}

/** Starts an MQTT broker, or uses `MQTT_URL`. */
export async function startMqtt(): Promise<Broker> {
  if (process.env.MQTT_URL) return { url: process.env.MQTT_URL, stop: async () => {} };
  const binary = find('mosquitto', 'MQTT_URL');
  const port = await freePort();
  const dir = folder();
  return { url: `mqtt://127.0.0.1:${port}`, stop: await run(dir, port, [binary, '-p', `${port}`]) };
}

/** Starts RabbitMQ, or uses `RABBITMQ_URL`. */
export async function startRabbitMq(): Promise<Broker> {
  if (process.env.RABBITMQ_URL) return { url: process.env.RABBITMQ_URL, stop: async () => {} };
  const binary = find('rabbitmq-server', 'RABBITMQ_URL');
  const [port, names, nodes] = [await freePort(), await freePort(), await freePort()];
  const dir = folder();
  const environment = {
    HOME: dir,
    ERL_EPMD_PORT: `${names}`,
    RABBITMQ_NODENAME: `test${port}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_NODE_PORT: `${port}`,
    RABBITMQ_DIST_PORT: `${nodes}`,
    RABBITMQ_MNESIA_BASE: dir,
    RABBITMQ_LOG_BASE: dir,
    RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, 'plugins'),
  };
  // Its name server would outlive it if it started one itself.
  const command = ['sh', '-c', 'epmd -address 127.0.0.1 & exec "$0"', binary];
  return { url: `amqp://127.0.0.1:${port}`, stop: await run(dir, port, command, environment) };
}

function find(name: string, variable: string): string {
  // On Debian, the RabbitMQ on the PATH is for its own user, and /usr/sbin is not on the PATH of all users.
  const candidates = [`/usr/lib/rabbitmq/bin/${name}`, onPath(name), `/usr/sbin/${name}`];
  const found = candidates.find((file) => file !== undefined && existsSync(file));
  if (!found) throw new Error(howToInstall(name, variable));
  return found;
}

function folder(): string {
  return mkdtempSync(join(tmpdir(), 'nest-rate-limit-broker-'));
}

/** Runs a server in a process group of its own, which is killed when standard input closes: with this process. */
const SUPERVISOR = `
trap '' PIPE
exec 3<&0
(cat <&3 >/dev/null; kill -KILL 0) &
exec "$@" 3<&- </dev/null
`;

/** Resolves when the server listens; the result stops it. */
async function run(
  dir: string,
  port: number,
  command: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<() => Promise<void>> {
  const server = spawn('sh', ['-c', SUPERVISOR, 'supervisor', ...command], {
    detached: true,
    env: { ...process.env, ...environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const exited = once(server, 'close');
  let output = '';
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (chunk) => (output += chunk));
  while (!(await listens(port))) {
    if (server.exitCode !== null) throw new Error(`${command.join(' ')} did not start:\n${output}`);
    await sleep(20);
  }
  return async () => {
    server.stdin.end();
    await exited;
    rmSync(dir, { recursive: true, force: true });
  };
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const answer = await Promise.race([
    once(socket, 'connect').then(() => true),
    once(socket, 'close').then(() => false),
  ]).catch(() => false);
  socket.destroy();
  return answer;
}
