// A dedicated Redis server on a free port, without persistence; it stops with this process.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';

const SIGNALS = ['SIGINT', 'SIGTERM'];

export async function startRedis() {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'bench-redis-'));
  const settings = ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', dir].map(
    String,
  );
  let server;
  for (const command of ['redis-server', 'valkey-server']) {
    server = spawn(command, settings, { stdio: 'ignore' });
    const failed = await Promise.race([once(server, 'error'), once(server, 'spawn').then(() => undefined)]);
    if (!failed) break;
    server = undefined;
  }
  if (!server) throw new Error('redis-server or valkey-server must be on the PATH');
  const kill = () => server.kill('SIGKILL');
  process.once('exit', kill);
  const quit = () => process.exit(1);
  for (const signal of SIGNALS) process.once(signal, quit);
  const admin = new Redis({ port, host: '127.0.0.1', retryStrategy: () => 50, maxRetriesPerRequest: null });
  admin.on('error', () => {});
  await Promise.race([admin.ping(), sleep(10_000)]);
  return {
    url: `redis://127.0.0.1:${port}`,
    admin,
    stop: async () => {
      admin.disconnect();
      const gone = once(server, 'exit');
      kill();
      await gone;
      process.off('exit', kill);
      for (const signal of SIGNALS) process.off(signal, quit);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function freePort() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
