// Decisions per second in Redis, and the cost of each decision in this process, on the network and on the server.
import { fileURLToPath } from 'node:url';
import { NestFactory } from '@nestjs/core';
import { Redis } from 'ioredis';
import 'reflect-metadata';
import { measure, ratio, serve, start } from './lib/measure.mjs';
import { moduleOf } from './lib/nest.mjs';
import { startRedis } from './lib/redis.mjs';
import { chart, publish, significant, table, times, verdicts } from './lib/report.mjs';
import { addresses } from './memory.mjs';

const HERE = fileURLToPath(import.meta.url);
const HOUR = 3_600_000;
const CLIENTS = 10_000;
const OURS = 'nest-rate-limit';
const THREE = `${OURS}, three limits`;
const WINDOW = `${OURS}, sliding window`;
const UNBATCHED = `${OURS}, one call each`;
const PEER = 'rate-limit-redis';
const THROTTLER = '@nest-lab/throttler-storage-redis';
const AT = [1, 64, 256];
const LIMITS = [
  { name: 'burst', capacity: 1_000_000, refill: 1 },
  { name: 'hourly', capacity: 1_000_000, refill: 600, unit: 'hours' },
  { name: 'daily', capacity: 1_000_000, refill: 900, unit: 'days' },
];

/** Opens the store through the module, with its deadline, circuit breaker and deny cache. */
async function storeOf(url, options = {}) {
  const { RateLimitModule, RateLimitStore } = await import('./build/index.js');
  // A long timeout, so that no decision fails because the machine is busy.
  const root = RateLimitModule.forRoot({
    store: { redis: url, ...options },
    failure: { mode: 'closed', timeout: '10s' },
  });
  const app = await NestFactory.createApplicationContext(moduleOf({ imports: [root] }), { logger: false });
  return app.get(RateLimitStore, { strict: false });
}

async function ours(url, limits, options) {
  const { parsePolicy } = await import('./build/core/policy.js');
  const store = await storeOf(url, options);
  const policy = parsePolicy(limits.length > 1 ? { limits } : limits[0], 'api');
  return (key) => store.run({ verb: 'take', takes: [{ policy, key, amount: 1000, maxWait: 0 }] });
}

async function throttler(url, count) {
  const { ThrottlerStorageRedisService } = await import('@nest-lab/throttler-storage-redis');
  const storage = new ThrottlerStorageRedisService(url);
  const names = ['burst', 'hourly', 'daily'].slice(0, count);
  // Sequentially, as in ThrottlerGuard.
  return async (key) => {
    for (const name of names) await storage.increment(key, HOUR, 1_000_000, HOUR, name);
  };
}

const deciders = {
  [OURS]: (url) => ours(url, LIMITS.slice(0, 1)),
  [UNBATCHED]: (url) => ours(url, LIMITS.slice(0, 1), { batch: false }),
  [`${OURS}, node-redis`]: async (url) => {
    const { createClient } = await import('redis');
    const client = createClient({ url });
    client.on('error', () => {});
    await client.connect();
    return ours(client, LIMITS.slice(0, 1));
  },
  [`${OURS}, Valkey GLIDE`]: async (url) => {
    const { GlideClient } = await import('@valkey/valkey-glide');
    const { hostname: host, port } = new URL(url);
    const addresses = [{ host, port: Number(port) }];
    return ours(await GlideClient.createClient({ addresses, requestTimeout: 10_000 }), LIMITS.slice(0, 1));
  },
  [WINDOW]: (url) => ours(url, [{ name: 'hourly', maxRequest: 1_000_000, unit: 'hours' }]),
  [`${OURS}, a slot taken and released`]: async (url) => {
    const { BucketService } = await import('./build/index.js');
    const buckets = new BucketService(await storeOf(url));
    const policy = { name: 'slots', concurrency: 5000 };
    return async (key) => (await buckets.bucket(policy, key).acquire()).release();
  },
  [PEER]: async (url) => {
    const { RedisStore } = await import('rate-limit-redis');
    const client = new Redis(url);
    const store = new RedisStore({ sendCommand: (...command) => client.call(...command) });
    store.init({ windowMs: HOUR });
    return (key) => store.increment(key);
  },
  'rate-limiter-flexible': async (url) => {
    const { RateLimiterRedis } = await import('rate-limiter-flexible');
    const limiter = new RateLimiterRedis({ storeClient: new Redis(url), points: 1_000_000, duration: HOUR / 1000 });
    return (key) => limiter.consume(key);
  },
  hitlimit: async (url) => {
    const { redisStore } = await import('@joint-ops/hitlimit/stores/redis');
    const store = redisStore({ url });
    return (key) => store.hit(key, HOUR, 1_000_000);
  },
  [THROTTLER]: (url) => throttler(url, 1),
  [THREE]: (url) => ours(url, LIMITS),
  'rate-limiter-flexible, union of three': async (url) => {
    const { RateLimiterRedis, RateLimiterUnion } = await import('rate-limiter-flexible');
    const storeClient = new Redis(url);
    const limiters = LIMITS.map(
      ({ name }) => new RateLimiterRedis({ storeClient, keyPrefix: name, points: 1_000_000, duration: HOUR / 1000 }),
    );
    const union = new RateLimiterUnion(...limiters);
    return (key) => union.consume(key);
  },
  [`${THROTTLER}, three throttlers`]: (url) => throttler(url, 3),
};

/** Keeps `size` decisions in flight. */
function crowd(decide, size) {
  const keys = addresses(CLIENTS);
  let i = 0;
  return async (count) => {
    const whole = Math.max(count, size * 16);
    let left = whole;
    const one = async () => {
      while (left-- > 0) {
        if (++i === keys.length) i = 0;
        await decide(keys[i]);
      }
    };
    await Promise.all(Array.from({ length: size }, one));
    return whole;
  };
}

const decider = (name, size) => async () => crowd(await deciders[name](process.env.BENCH_REDIS_URL), size);
export const candidates = Object.fromEntries(
  AT.map((size) => [size, Object.fromEntries(Object.keys(deciders).map((name) => [name, decider(name, size)]))]),
);

/** In a child: runs 2,000 decisions, sequentially or in a few event loop turns. The parent reads the server's counters. */
async function few(name, size) {
  const decide = await deciders[name](process.env.BENCH_REDIS_URL);
  const run = crowd(decide, Number(size));
  await run(1000);
  serve(async () => {
    await run(2000);
    return {};
  });
}

/** In a child: decides one request of each client. */
async function once(name) {
  const decide = await deciders[name](process.env.BENCH_REDIS_URL);
  await decide('another client');
  serve(async () => {
    await crowd(decide, 64)(CLIENTS);
    return {};
  });
}

/** In a child: sends `count` requests of a key that is already denied. */
async function flood(count) {
  const { parsePolicy } = await import('./build/core/policy.js');
  const store = await storeOf(process.env.BENCH_REDIS_URL);
  const policy = parsePolicy({ capacity: 5, refill: 5, unit: 'minutes' }, 'flooded');
  const take = () => store.run({ verb: 'take', takes: [{ policy, key: 'flooder', amount: 1000, maxWait: 0 }] });
  for (let i = 0; i < 5; i++) await take();
  serve(async () => {
    let denied = 0;
    for (let i = 0; i < Number(count); i++) if (!(await take()).allowed) denied++;
    return { denied };
  });
}

const tasks = { few, once, flood };
if (process.send && process.argv[2] in tasks) await tasks[process.argv[2]](...process.argv.slice(3));

/** Returns the counters of the server. */
async function counted(admin) {
  const [commands, stats, cpu] = await Promise.all(['commandstats', 'stats', 'cpu'].map((part) => admin.info(part)));
  const calls = {};
  for (const [, name, count] of commands.matchAll(/cmdstat_(\S+):calls=(\d+)/g)) calls[name] = Number(count);
  const number = (text, name) => Number(new RegExp(`${name}:([\\d.]+)`).exec(text)[1]);
  return {
    trips: (calls.evalsha ?? 0) + (calls.eval ?? 0),
    calls: Object.values(calls).reduce((sum, count) => sum + count, 0) - (calls.info ?? 0),
    bytes: number(stats, 'total_net_input_bytes'),
    cpu: (number(cpu, 'used_cpu_user') + number(cpu, 'used_cpu_sys')) * 1e6,
  };
}

/** Returns the costs of one decision according to the server's counters. */
async function costs(redis, name, size, decisions) {
  const child = await start(HERE, ['few', name, String(size)], { env: { BENCH_REDIS_URL: redis.url } });
  // The three INFO commands are counted, too.
  const zero = await counted(redis.admin);
  const before = await counted(redis.admin);
  await child.ask({});
  const after = await counted(redis.admin);
  await child.stop();
  const each = (part) => (after[part] - before[part] - (before[part] - zero[part])) / decisions;
  return { trips: each('trips'), calls: each('calls'), bytes: each('bytes'), cpu: each('cpu') };
}

/** Returns the bytes of Redis's memory for each client that was seen once: `MEMORY USAGE` of its keys. */
async function weigh(redis, name) {
  await redis.admin.flushall();
  const child = await start(HERE, ['once', name], { env: { BENCH_REDIS_URL: redis.url } });
  await child.ask({});
  await child.stop();
  const keys = await redis.admin.keys('*');
  const sample = keys.slice(0, 1000);
  const usages = await Promise.all(sample.map((key) => redis.admin.memory('USAGE', key)));
  const mean = usages.reduce((sum, bytes) => sum + bytes, 0) / sample.length;
  return (mean * keys.length) / CLIENTS;
}

export async function run() {
  const redis = await startRedis();
  try {
    const env = { BENCH_REDIS_URL: redis.url };
    const names = Object.keys(deciders);
    const results = {};
    for (const size of AT) {
      results[size] = await measure(HERE, String(size), names, { rounds: 5, ms: 250, env });
      await redis.admin.flushall();
    }
    const alone = {};
    const together = {};
    const weights = {};
    for (const name of names) {
      alone[name] = await costs(redis, name, 1, 2000);
      together[name] = await costs(redis, name, 64, 2000);
      weights[name] = await weigh(redis, name);
    }
    const child = await start(HERE, ['flood', '20000'], { env });
    const before = await counted(redis.admin);
    const { denied } = await child.ask({});
    const queried = (await counted(redis.admin)).trips - before.trips;
    await child.stop();
    publish('redis', report(results, alone, together, weights, denied, queried));
  } finally {
    await redis.stop();
  }
}

function report(results, alone, together, weights, denied, queried) {
  const names = Object.keys(deciders);
  const perSecond = (size, name) => 1e9 / results[size][name].median;
  const rates = table(
    ['decisions per second', ...AT.flatMap((size) => [`${size} at once`, 'ratio'])],
    names.map((name) => [
      name,
      ...AT.flatMap((size) => [
        significant(perSecond(size, name)),
        times(1 / ratio(results[size][name], results[size][OURS])),
      ]),
    ]),
  );
  const perDecision = table(
    [
      'for each decision',
      'round trips',
      'commands',
      'bytes sent',
      'bytes, 64 at once',
      'Node µs, 64 at once',
      'Redis µs, 64 at once',
      'bytes per client',
    ],
    names.map((name) => [
      name,
      significant(alone[name].trips),
      significant(alone[name].calls),
      Math.round(alone[name].bytes),
      Math.round(together[name].bytes),
      significant(results[64][name].cpu / 1000),
      significant(together[name].cpu),
      Math.round(weights[name]),
    ]),
  );
  const rateAt = (size, name = OURS) => ratio(results[size][PEER], results[size][name]);
  const cpuAt = (size) => results[size][OURS].cpu / results[size][PEER].cpu;
  const atLeast = (what, bar, value) => [what, `≥ ${bar}×`, times(value), value >= bar];
  const atMost = (what, bar, value) => [what, `≤ ${bar}×`, times(value), value <= bar];
  const at64 = ratio(results[64][`${THROTTLER}, three throttlers`], results[64][THREE]);
  const single = ratio(results[1][`${THROTTLER}, three throttlers`], results[1][THREE]);
  const kept = 1 - queried / denied;
  return `## Redis

A decision of each store on 10,000 keys, with one ioredis connection each, a Redis on the same machine, and default settings; this library's as the module opens it, with its deadline and its deny cache. \`one call each\` is this library with \`batch: false\`. Round trips, commands, bytes and the server's time are counted by the server, Node's time by \`process.cpuUsage\`. Bytes per client are \`MEMORY USAGE\` of the keys of a client after one request.

${rates}

${chart(
  names.map((name) => [name, perSecond(64, name)]),
  (value) => `${significant(value)} per second, 64 at once`,
)}

${perDecision}

${chart(
  names.map((name) => [name, results[64][name].cpu / 1000]),
  (value) => `${significant(value)} µs of Node, 64 at once`,
)}

A denied key that keeps sending requests, ${denied.toLocaleString('en-US')} times: ${queried} of them reached Redis.

### Aims

${verdicts([
  atLeast(`one at a time: decisions per second against ${PEER}`, 0.95, rateAt(1)),
  atMost(`one at a time: Node's CPU per decision against ${PEER}`, 1.2, cpuAt(1)),
  atLeast(`64 at once: decisions per second against ${PEER}`, 1.9, rateAt(64)),
  atLeast(`256 at once: decisions per second against ${PEER}`, 2.2, rateAt(256)),
  atMost(`64 at once: Node's CPU per decision against ${PEER}`, 0.25, cpuAt(64)),
  atLeast(`64 at once, sliding window: decisions per second against ${PEER}`, 1.5, rateAt(64, WINDOW)),
  atLeast(`64 at once, one call each: decisions per second against ${PEER}`, 0.9, rateAt(64, UNBATCHED)),
  ['three limits: round trips', '1', significant(alone[THREE].trips), Math.round(alone[THREE].trips * 100) <= 100],
  ['three limits: bytes sent by a decision alone', '≤ 300', Math.round(alone[THREE].bytes), alone[THREE].bytes <= 300],
  atLeast('three limits, 64 at once: decisions per second against three throttlers', 4, at64),
  atLeast('three limits, one at a time: decisions per second against three throttlers', 2.5, single),
  ['bytes of Redis per client, bucket', '≤ 100', Math.round(weights[OURS]), weights[OURS] <= 100],
  ['bytes of Redis per client, window', '≤ 130', Math.round(weights[WINDOW]), weights[WINDOW] <= 130],
  ['bytes of Redis per client, three limits', '≤ 130', Math.round(weights[THREE]), weights[THREE] <= 130],
  ['denials of a flooding key that never reach Redis', '≥ 99 %', `${(kept * 100).toFixed(2)} %`, kept >= 0.99],
])}`;
}
