// Memory per bucket, the longest pause when buckets expire, and the effect of a flood of new keys.
import { fileURLToPath } from 'node:url';
import { parsePolicy } from './build/core/policy.js';
import { MemoryStore } from './build/index.js';
import { median, serve, start } from './lib/measure.mjs';
import { chart, publish, significant, table, verdicts } from './lib/report.mjs';

const MILLION = 1_000_000;
const HOUR = 3_600_000;
const ROUNDS = 3;
const CUT_KEYS = 100_000;
const OURS = 'nest-rate-limit';
const HERE = fileURLToPath(import.meta.url);

/** Stores that count one hit of a key. `time` is the window in ms, after which all buckets expire. */
const stores = {
  [OURS]: (time) => {
    const store = new MemoryStore({ maxBuckets: 2 * MILLION });
    const policy = parsePolicy({ capacity: 100, refill: 1, duration: time, unit: 'milliseconds' }, 'api');
    const hit = (key) => store.run({ verb: 'take', takes: [{ policy, key, amount: 1000, maxWait: 0 }] });
    return { hit, size: () => store.size };
  },
  [`${OURS}, sliding window`]: (time) => {
    const store = new MemoryStore({ maxBuckets: 2 * MILLION });
    const policy = parsePolicy({ maxRequest: 100, duration: time, unit: 'milliseconds' }, 'api');
    const hit = (key) => store.run({ verb: 'take', takes: [{ policy, key, amount: 1000, maxWait: 0 }] });
    return { hit, size: () => store.size };
  },
  hitlimit: async (time) => {
    const { memoryStore } = await import('@joint-ops/hitlimit/stores/memory');
    const store = memoryStore();
    return { hit: (key) => store.hit(key, time, 100), size: () => store.hits.size };
  },
  'express-rate-limit': async (time) => {
    const { MemoryStore: Store } = await import('express-rate-limit');
    const store = new Store();
    store.init({ windowMs: time });
    return { hit: (key) => store.increment(key), size: () => store.current.size + store.previous.size };
  },
  'rate-limiter-flexible': async (time) => {
    const { RateLimiterMemory } = await import('rate-limiter-flexible');
    const limiter = new RateLimiterMemory({ points: 100, duration: time / 1000 });
    const { _storage } = limiter._memoryStorage;
    return {
      hit: (key) => limiter.consume(key),
      size: () => (_storage instanceof Map ? _storage.size : Object.keys(_storage).length),
    };
  },
  '@nestjs/throttler': async (time) => {
    const { ThrottlerStorageService } = await import('@nestjs/throttler');
    const store = new ThrottlerStorageService();
    return { hit: (key) => store.increment(key, time, 100, 0, 'api'), size: () => store.storage.size };
  },
};

/** In a child: bytes per bucket on and off the heap, without the keys, which the caller already holds. */
async function weigh(name) {
  const keys = Array.from({ length: MILLION }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
  const { hit, size } = await stores[name](HOUR);
  await hit('first');
  const before = used();
  for (const key of keys) await hit(key);
  const bytes = (used() - before) / MILLION;
  if (size() < MILLION) throw new Error(`${name} keeps only ${size()} of ${keys.length} buckets`);
  return { bytes };
}

function used() {
  globalThis.gc();
  globalThis.gc();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/**
 * In a child: a million buckets expire together; returns the longest turn of the event loop until they are deleted. The
 * clock is set forward, and intervals fire `faster` times as often, which does not change how long each run takes.
 */
async function expire(name, faster) {
  const { setInterval } = globalThis;
  globalThis.setInterval = (run, ms, ...rest) => setInterval(run, Math.max(1, ms / faster), ...rest);
  const { now } = Date;
  const { hit, size } = await stores[name](HOUR);
  for (let i = 0; i < MILLION; i++) await hit(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
  globalThis.gc();
  const kept = size();
  // Wait for background garbage collection to finish.
  await new Promise((resolve) => setTimeout(resolve, 2000));
  Date.now = () => now() + 2 * HOUR;
  const longest = await turnsUntil(() => size() === 0, 60_000);
  if (kept < MILLION || size() > 0) throw new Error(`${name} kept ${kept} buckets, then ${size()}`);
  return { longest };
}

/** Returns the CPU time of this process on all threads, in ms. */
function runTime() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/**
 * Returns the longest turn of the event loop in ms, until `done` or for at most `ms`. Wall-clock time includes other
 * processes; CPU time includes garbage collection threads. The lesser of both is closer to the time on an idle machine.
 */
function turnsUntil(done, ms) {
  return new Promise((resolve) => {
    let longest = 0;
    const end = performance.now() + ms;
    let last = performance.now();
    let lastRun = runTime();
    const turn = () => {
      const now = performance.now();
      const run = runTime();
      longest = Math.max(longest, Math.min(now - last, run - lastRun));
      last = now;
      lastRun = run;
      if (done() || now > end) resolve(longest);
      else setImmediate(turn);
    };
    setImmediate(turn);
  });
}

/** In a child: nothing expires, so the longest turn is the noise of the machine. */
async function idle() {
  return { longest: await turnsUntil(() => false, 4000) };
}

/** In a child: one blocked key and ten million keys of one request each. */
async function flood() {
  const store = new MemoryStore({ maxBuckets: 100_000 });
  const policy = parsePolicy({ capacity: 5, refill: 5, unit: 'minutes', block: '1h' }, 'api');
  const take = (key) => store.run({ verb: 'take', takes: [{ policy, key, amount: 1000, maxWait: 0 }] });
  for (let i = 0; i < 6; i++) take('blocked');
  const heap = [];
  for (let i = 0; i < 10 * MILLION; i++) {
    take(`key ${i}`);
    if (i % MILLION === MILLION - 1) heap.push(used());
  }
  return { heap, size: store.size, blocked: !take('blocked').allowed };
}

/** In a child: bytes per bucket, with its key of 24 characters, cut from a string of 4,000 that is then dropped. */
async function cut(name) {
  const { hit } = await stores[name](HOUR);
  await hit('first');
  const before = used();
  for (let i = 0; i < CUT_KEYS; i++) {
    const text = Buffer.alloc(4000, `session=${String(i).padStart(16, '0')};`).toString('latin1');
    await hit(text.slice(0, 24));
  }
  return { bytes: (used() - before) / CUT_KEYS };
}

const tasks = { weigh, expire, idle, flood, cut };

if (process.send && process.argv[2] in tasks) {
  const [, , task, ...args] = process.argv;
  serve(() => tasks[task](...args));
}

async function inChild(...args) {
  const child = await start(HERE, args.map(String), { execArgv: ['--expose-gc', '--max-old-space-size=8192'] });
  const answer = await child.ask({});
  await child.stop();
  return answer;
}

export async function run() {
  const weights = {};
  for (const name of Object.keys(stores)) weights[name] = (await inChild('weigh', name)).bytes;
  const stalls = {};
  const expiring = [
    [OURS, 25],
    [`${OURS}, sliding window`, 25],
    ['hitlimit', 100],
    ['@nestjs/throttler', 600],
  ];
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, faster] of expiring) {
      stalls[name] = [...(stalls[name] ?? []), await inChild('expire', name, faster)];
    }
    stalls['nothing expires'] = [...(stalls['nothing expires'] ?? []), await inChild('idle')];
  }
  const { heap, size, blocked } = await inChild('flood');
  const cuts = {};
  for (const name of Object.keys(stores)) cuts[name] = (await inChild('cut', name)).bytes;
  const longest = (name) => median(stalls[name].map((one) => one.longest));
  const megabytes = heap.map((bytes) => bytes / 2 ** 20);
  const growth = megabytes[9] / megabytes[0];
  const weight = weights[OURS] / weights.hitlimit;
  publish(
    'heap',
    `## What buckets weigh, and how they end

Bytes for each of 1,000,000 buckets with one hit, on the heap and in typed arrays, after garbage collection, without the keys.

${table(
  ['', 'bytes per bucket', 'ratio'],
  Object.entries(weights).map(([name, bytes]) => [name, Math.round(bytes), `${significant(bytes / weights[OURS])}×`]),
)}

${chart(Object.entries(weights), (bytes) => `${Math.round(bytes)} B`)}

1,000,000 buckets fall due together: the longest turn of the event loop until all are gone, the median of ${ROUNDS} runs. The stores' timers run faster than they do otherwise, so that it does not take all day; what one run of them takes is the same. Counted is the time by the clock or that for which the process ran, whichever is less: so neither other processes count, nor threads that collect garbage at the same time.

${table(
  ['', 'longest turn', 'runs'],
  Object.keys(stalls).map((name) => [
    name,
    `${significant(longest(name))} ms`,
    stalls[name].map((one) => significant(one.longest)).join(', '),
  ]),
)}

10,000,000 keys of one request each, with \`maxBuckets: 100000\`, after a key was blocked: heap after each million in MB ${megabytes.map((mb) => mb.toFixed(1)).join(', ')}; ${size.toLocaleString('en-US')} buckets kept; the blocked key is ${blocked ? 'still blocked' : 'FREE'}.

Keys of 24 characters, each cut from a string of 4,000, such as a header: bytes for each of 100,000 buckets with its key. A store that keeps the key uncopied keeps the whole string.

${table(
  ['', 'bytes per bucket and key'],
  Object.entries(cuts).map(([name, bytes]) => [name, Math.round(bytes)]),
)}

### Aims

${verdicts([
  ["bytes per bucket against hitlimit's", '≤ 1×', `${significant(weight)}×`, weight <= 1],
  ['longest turn while a million buckets expire', '≤ 5 ms', `${significant(longest(OURS))} ms`, longest(OURS) <= 5],
  ['heap after 10 million keys against 1 million', '≤ 1.05×', `${significant(growth)}×`, growth <= 1.05],
  ['bytes per bucket and key that is cut from a long string', '≤ 250', `${Math.round(cuts[OURS])}`, cuts[OURS] <= 250],
  ['a blocked key stays blocked', 'yes', blocked ? 'yes' : 'no', blocked],
])}`,
  );
}
