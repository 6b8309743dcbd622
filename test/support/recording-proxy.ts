import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** A TCP proxy in a process of its own, so that its clock keeps running while the test's process is busy. */
export interface RecordingProxy {
  readonly url: string;
  /**
   * Returns the longest time from a request that reached the proxy to the reply of the server, ms, or by which the proxy
   * itself was late, if that is longer; then starts anew.
   */
  slowestReply(): Promise<number>;
  stop(): Promise<void>;
}

const PROXY = `
const net = require('node:net');
let slowest = 0;
let last = performance.now();
setInterval(() => {
  const now = performance.now();
  slowest = Math.max(slowest, now - last - 5);
  last = now;
}, 5);
const server = net.createServer((client) => {
  const redis = net.connect(Number(process.argv[1]), '127.0.0.1');
  let since;
  client.on('data', (data) => { since ??= performance.now(); redis.write(data); });
  redis.on('data', (data) => {
    if (since !== undefined) slowest = Math.max(slowest, performance.now() - since);
    since = undefined;
    client.write(data);
  });
  for (const [one, other] of [[client, redis], [redis, client]]) {
    one.setNoDelay(true);
    one.on('error', () => {});
    one.on('close', () => other.destroy());
  }
});
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
process.on('message', () => { process.send({ slowest }); slowest = 0; });
process.on('disconnect', () => process.exit());
`;

/** Starts a proxy in front of the server on `port`. */
export async function recordReplies(port: number): Promise<RecordingProxy> {
  const child = spawn(process.execPath, ['-e', PROXY, `${port}`], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const [{ port: own }] = (await once(child, 'message')) as [{ port: number }];
  return {
    url: `redis://127.0.0.1:${own}`,
    slowestReply: async () => {
      child.send('report');
      const [{ slowest }] = (await once(child, 'message')) as [{ slowest: number }];
      return slowest;
    },
    stop: () => end(child),
  };
}

const SUSPEND = `
const [pid, on, off, count] = process.argv.slice(1).map(Number);
const wait = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
for (let i = 0; i < count; i++) {
  wait(on);
  process.kill(pid, 'SIGSTOP');
  wait(off);
  process.kill(pid, 'SIGCONT');
}
`;

/**
 * Suspends this process `count` times for `off` ms, each time after it has run for `on` ms: what a container without CPU
 * time left experiences. Resolves afterwards.
 */
export async function suspendThisProcess(on: number, off: number, count: number): Promise<void> {
  const args = [process.pid, on, off, count].map(String);
  const child = spawn(process.execPath, ['-e', SUSPEND, ...args], { stdio: ['ignore', 'inherit', 'inherit'] });
  await once(child, 'exit');
}

async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.disconnect();
  await exited;
}
