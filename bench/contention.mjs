// How much of a concurrency limit is used by several processes, each with requests that wait for it.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { startRedis } from './lib/redis.mjs';
import { publish, significant, table, verdicts } from './lib/report.mjs';

const HERE = fileURLToPath(import.meta.url);
const CONCURRENCY = 16;
const PROCESSES = 4;
/** Requests of each process; each begins again as soon as its work has ended. */
const REQUESTS = 16;
const WORKS = [20, 100];
const ROUNDS = 3;
/** ms until V8 has compiled the code, and ms that are measured. */
const WARM_UP = 5000;
const MEASURED = 10_000;
const OURS = 'nest-rate-limit';
const LIST = 'list, BLPOP and RPUSH';
const PEER = 'redis-semaphore';

/** Each connects to Redis, and returns a function that acquires a slot for a request and returns how to release it. */
const semaphores = {
  async [OURS](url) {
    const { BucketService, RedisStore } = await import('./build/index.js');
    const store = await RedisStore.connect(url, { timeout: 10_000 });
    const bucket = new BucketService(store).bucket({ name: 'work', concurrency: CONCURRENCY }, 'all');
    return async () => {
      const slot = await bucket.acquire();
      return () => slot.release();
    };
  },
  [LIST](url) {
    const client = new Redis(url);
    const connections = Array.from({ length: REQUESTS }, () => new Redis(url));
    return async (request) => {
      await connections[request].blpop('slots', 0);
      return () => client.rpush('slots', 1);
    };
  },
  async [PEER](url) {
    const { Semaphore } = await import('redis-semaphore');
    const client = new Redis(url);
    return async () => {
      const semaphore = new Semaphore(client, 'work', CONCURRENCY, { acquireTimeout: 60_000 });
      await semaphore.acquire();
      return () => semaphore.release();
    };
  },
};

/** One process: works until it is stopped, and sends when. */
async function work(name, url, ms) {
  const acquire = await semaphores[name](url);
  process.send('ready');
  await once(process, 'message');
  const clock = () => performance.timeOrigin + performance.now();
  const until = clock() + WARM_UP + MEASURED;
  const held = [];
  const cpu = process.cpuUsage();
  const request = async (_, i) => {
    while (clock() < until) {
      const since = clock();
      const release = await acquire(i);
      const from = clock();
      await sleep(ms);
      held.push([from, clock(), from - since]);
      await release();
    }
  };
  await Promise.all(Array.from({ length: REQUESTS }, request));
  const { user, system } = process.cpuUsage(cpu);
  process.send({ held, cpu: (user + system) / 1000 / held.length, until });
}

async function measureOnce(name, ms) {
  const redis = await startRedis();
  if (name === LIST) await redis.admin.rpush('slots', ...Array(CONCURRENCY).fill(1));
  const children = Array.from({ length: PROCESSES }, () => fork(HERE, [name, redis.url, ms], { env: ENV }));
  await Promise.all(children.map((child) => once(child, 'message')));
  for (const child of children) child.send('start');
  const results = (await Promise.all(children.map((child) => once(child, 'message')))).map(([result]) => result);
  for (const child of children) child.kill();
  await redis.stop();
  const to = Math.min(...results.map(({ until }) => until));
  const held = results.flatMap((result) => result.held);
  const waits = held.filter(([from]) => from > to - MEASURED && from < to).map(([, , wait]) => wait);
  return {
    used: usedOf(held, to - MEASURED, to),
    most: mostAtOnce(held),
    wait: quantile(waits, 0.5),
    late: quantile(waits, 0.99),
    cpu: results.reduce((sum, { cpu }) => sum + cpu, 0) / PROCESSES,
  };
}

function usedOf(held, from, to) {
  const sum = held.reduce((total, [start, end]) => total + Math.max(0, Math.min(end, to) - Math.max(start, from)), 0);
  return sum / CONCURRENCY / (to - from);
}

function mostAtOnce(held) {
  const changes = held.flatMap(([start, end]) => [
    [start, 1],
    [end, -1],
  ]);
  let now = 0;
  let most = 0;
  for (const [, change] of changes.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    now += change;
    most = Math.max(most, now);
  }
  return most;
}

const quantile = (numbers, part) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length * part)];
const median = (results, figure) => quantile(results.map(figure), 0.5);
const percent = (value) => `${(value * 100).toFixed(1)} %`;
const ms = (value) => `${significant(value)} ms`;

const ENV = { ...process.env, BENCH_CONTENTION: 'process' };
if (process.env.BENCH_CONTENTION) await work(process.argv[2], process.argv[3], Number(process.argv[4]));

export async function run() {
  const tables = [];
  const aims = [];
  for (const duration of WORKS) {
    const results = Object.fromEntries(Object.keys(semaphores).map((name) => [name, []]));
    for (let round = 0; round < ROUNDS; round++) {
      for (const name of Object.keys(semaphores)) results[name].push(await measureOnce(name, duration));
    }
    const rows = Object.entries(results).map(([name, rounds]) => [
      name,
      percent(median(rounds, ({ used }) => used)),
      `${Math.max(...rounds.map(({ most }) => most))}`,
      ms(median(rounds, ({ wait }) => wait)),
      ms(median(rounds, ({ late }) => late)),
      ms(median(rounds, ({ cpu }) => cpu)),
    ]);
    const head = ['', 'used', 'most at once', 'median wait', '99 % wait at most', 'CPU of each'];
    tables.push(`### Work of ${duration} ms\n\n${table(head, rows)}`);
    const used = median(results[OURS], (one) => one.used);
    aims.push([`slots are used while requests wait, work of ${duration} ms`, '≥ 95 %', percent(used), used >= 0.95]);
  }
  publish(
    'contention',
    `## Slots that requests wait for

Four processes with 16 requests each share ${CONCURRENCY} slots in Redis: how much of the time the slots are used, how many were held at once, and how long requests waited. A request begins again when its work has ended. Candidates alternate in three rounds of ten seconds, of which the table has the medians. The CPU time is that of a process, divided by its requests.

The list is the shortest way from a release to a waiter that Redis has: each request blocks on a connection of its own, and a process that dies takes its slots with it. redis-semaphore tries again every 10 ms.

${tables.join('\n\n')}

### Aims

${verdicts(aims)}`,
  );
}
