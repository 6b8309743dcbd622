// Measures one decision of a memory store, called directly.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { BucketAnswer } from './build/core/bucket-answer.js';
import { parsePolicy } from './build/core/policy.js';
import { MemoryStore } from './build/index.js';
import { RecordMap } from './build/stores/memory/record-map.js';
import { measure, ratio } from './lib/measure.mjs';
import { chart, ns, percent, publish, times, timings, verdicts } from './lib/report.mjs';

const require = createRequire(import.meta.url);
const HOUR = 3_600_000;
export const MANY = 100_000;
/** Large enough that no request is denied and no bucket refills completely within a run. */
export const HUGE = 1e9;

/** Returns `count` addresses in a shuffled order, the same in every run. */
export function addresses(count) {
  const keys = Array.from({ length: count }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
  let seed = 1;
  for (let i = count - 1; i > 0; i--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const k = seed % (i + 1);
    [keys[i], keys[k]] = [keys[k], keys[i]];
  }
  return keys;
}

function turns(keys, decide) {
  let i = 0;
  return (count) => {
    for (let n = 0; n < count; n++) {
      decide(keys[i]);
      if (++i === keys.length) i = 0;
    }
  };
}

export function asyncTurns(keys, decide) {
  let i = 0;
  return async (count) => {
    for (let n = 0; n < count; n++) {
      await decide(keys[i]);
      if (++i === keys.length) i = 0;
    }
  };
}

const capacityOf = (rejects) => (rejects ? 1 : HUGE);

function ours(options) {
  return (keys, rejects) => {
    const store = new MemoryStore();
    const policy = parsePolicy(options, 'api');
    const take = (key) => store.run({ verb: 'take', takes: [{ policy, key, amount: 1000, maxWait: 0 }] });
    let last;
    const run = turns(keys, (key) => {
      last = take(key);
    });
    for (const key of rejects ? keys : []) take(key);
    return (count) => {
      run(count);
      if (last.allowed === rejects) throw new Error(rejects ? 'A request was allowed' : 'A bucket is exhausted');
    };
  };
}

const peers = {
  'bare Map, GCRA in six lines': (keys, rejects) => {
    const interval = rejects ? HOUR : 1000;
    const burst = interval * capacityOf(rejects);
    const arrivals = new Map();
    return turns(keys, (key) => {
      const now = Date.now();
      const arrival = Math.max(arrivals.get(key) ?? now, now) + interval;
      const allowed = arrival - now <= burst;
      if (allowed) arrivals.set(key, arrival);
      return allowed;
    });
  },
  hitlimit: async (keys, rejects) => {
    const { memoryStore } = await import('@joint-ops/hitlimit/stores/memory');
    const store = memoryStore();
    return turns(keys, (key) => store.hit(key, HOUR, capacityOf(rejects)));
  },
  limiter: async (keys, rejects) => {
    const { TokenBucket } = await import('limiter');
    const bucketSize = capacityOf(rejects);
    // It has no keys, and its buckets start empty.
    const bucketOf = () => {
      const bucket = new TokenBucket({ bucketSize, tokensPerInterval: 1, interval: rejects ? HOUR : 1000 });
      bucket.content = bucketSize;
      return bucket;
    };
    const buckets = new Map(keys.map((key) => [key, bucketOf()]));
    return turns(keys, (key) => buckets.get(key).tryRemoveTokens(1));
  },
  '@fastify/rate-limit': (keys, rejects) => {
    const LocalStore = require('@fastify/rate-limit/store/LocalStore.js');
    const store = new LocalStore(false, false, keys.length);
    return turns(keys, (key) => store.incr(key, () => {}, HOUR, capacityOf(rejects)));
  },
  'express-rate-limit': async (keys) => {
    const { MemoryStore: Store } = await import('express-rate-limit');
    const store = new Store();
    store.init({ windowMs: HOUR });
    return asyncTurns(keys, (key) => store.increment(key));
  },
  'rate-limiter-flexible': async (keys, rejects) => {
    const { RateLimiterMemory } = await import('rate-limiter-flexible');
    const limiter = new RateLimiterMemory({ points: capacityOf(rejects), duration: HOUR / 1000 });
    return asyncTurns(keys, (key) => limiter.consume(key).catch(() => {}));
  },
};

/** The parts of a decision, measured individually. Results are kept, so that V8 does not eliminate the work. */
const parts = {
  'reading the time': (keys) => turns(keys, () => keep(Date.now())),
  'finding the bucket': (keys) => {
    const records = new RecordMap();
    for (const [i, key] of keys.entries()) records.add(key, i);
    return turns(keys, (key) => keep(records.get(key)));
  },
  'making the answer': (keys) => {
    const policy = parsePolicy(bucket, 'api');
    let left = HUGE;
    return turns(keys, () => keep(new BucketAnswer(policy.limits[0], 'api', --left, 0, 1000, true, 'store')));
  },
};
/** The same parts with so many keys that neither keys nor numbers are in the CPU caches. */
const manyParts = {
  'reading the time': parts['reading the time'],
  'finding the bucket': parts['finding the bucket'],
  'its two numbers': (keys) => {
    const cells = new Float64Array(2 * keys.length);
    // A stride as irregular as the buckets of shuffled addresses.
    let slot = 0;
    return turns(keys, () => {
      slot = (slot + 61_803) % keys.length;
      cells[2 * slot] += 1;
      cells[2 * slot + 1] += 1;
    });
  },
};
let kept;
function keep(value) {
  kept = value;
  return kept;
}

/** Its store keeps and scans every hit, so it is replaced after 50 hits per key. */
const throttler = async (keys, rejects) => {
  const { ThrottlerStorageService } = await import('@nestjs/throttler');
  let store = new ThrottlerStorageService();
  const limit = rejects ? 1 : 100;
  let i = 0;
  let hits = 0;
  return async (count) => {
    for (let n = 0; n < count; n++) {
      await store.increment(keys[i], HOUR, limit, rejects ? HOUR : 0, 'api');
      if (++i === keys.length) i = 0;
      if (++hits === 50 * keys.length && !rejects) {
        store.onApplicationShutdown();
        store = new ThrottlerStorageService();
        hits = 0;
      }
    }
  };
};

/** Measures buckets with `hits` live requests, spread over the window. */
function filled(options, hits) {
  return () => {
    // Several keys, so that no bucket is exhausted within the run.
    const keys = addresses(3000);
    let ahead = -HOUR;
    const clock = { now: () => Date.now() + ahead, sleep: () => Promise.resolve() };
    const store = new MemoryStore({ clock });
    const policy = parsePolicy(options, 'api');
    const decide = (key) => store.run({ verb: 'take', takes: [{ policy, key, amount: 1000, maxWait: 0 }] });
    for (let hit = 0; hit < hits; hit++) {
      ahead = -HOUR * (1 - (hit + 1) / (hits + 1));
      for (const key of keys) decide(key);
    }
    ahead = 0;
    let left = keys.length * 9000;
    const run = turns(keys, decide);
    return (count) => {
      left -= count;
      if (left < 0) throw new Error('A bucket is exhausted');
      run(count);
    };
  };
}

function filledThrottler(hits) {
  return async () => {
    const { ThrottlerStorageService } = await import('@nestjs/throttler');
    const store = new ThrottlerStorageService();
    for (let hit = 0; hit < hits; hit++) await store.increment('10.0.0.1', HOUR, 20_000, 0, 'api');
    return async (count) => {
      for (let n = 0; n < count; n++) {
        await store.increment('10.0.0.1', HOUR, 20_000, 0, 'api');
        // Removes the added hit, so that their number stays constant.
        store.getHitExpirations('10.0.0.1', 'api').pop();
        if (store.storage.get('10.0.0.1').totalHits.get('api') > hits + 1)
          throw new Error('The throttler keeps too many hits');
      }
    };
  };
}

const OURS = 'nest-rate-limit';
const WINDOW = `${OURS}, sliding window`;
const bucket = { capacity: HUGE, refill: 1, unit: 'hours' };
const small = { capacity: 1, refill: 1, unit: 'days' };
const on = (keys, rejects) => (make) => () => make(keys(), rejects);
const each = (makes, wrap) => Object.fromEntries(Object.entries(makes).map(([name, make]) => [name, wrap(make)]));
const all = {
  [OURS]: ours(bucket),
  [WINDOW]: ours({ maxRequest: HUGE, unit: 'hours' }),
  ...peers,
  '@nestjs/throttler': throttler,
};

export const candidates = {
  hot: each(
    all,
    on(() => ['203.0.113.7'], false),
  ),
  keys: each(
    all,
    on(() => addresses(MANY), false),
  ),
  rejects: each(
    { ...all, [OURS]: ours(small), [WINDOW]: ours({ maxRequest: 1, unit: 'days' }) },
    on(() => ['203.0.113.7'], true),
  ),
  parts: each(
    parts,
    on(() => ['203.0.113.7'], false),
  ),
  manyParts: each(
    manyParts,
    on(() => addresses(MANY), false),
  ),
  live: {
    'bucket, 10 live': filled({ capacity: 20_000, refill: 1, unit: 'days' }, 10),
    'bucket, 10,000 live': filled({ capacity: 20_000, refill: 1, unit: 'days' }, 10_000),
    'window, 10 live': filled({ maxRequest: 20_000, unit: 'hours' }, 10),
    'window, 10,000 live': filled({ maxRequest: 20_000, unit: 'hours' }, 10_000),
  },
  throttlerLive: {
    '@nestjs/throttler, 10 live': filledThrottler(10),
    '@nestjs/throttler, 10,000 live': filledThrottler(10_000),
  },
};

const HERE = fileURLToPath(import.meta.url);
const FLOOR = 'bare Map, GCRA in six lines';

export async function run() {
  const hot = await measure(HERE, 'hot', Object.keys(candidates.hot));
  const keys = await measure(HERE, 'keys', Object.keys(candidates.keys));
  const rejects = await measure(HERE, 'rejects', Object.keys(candidates.rejects));
  // Short, so that no bucket is exhausted.
  const live = await measure(HERE, 'live', Object.keys(candidates.live), { ms: 60, warm: 60 });
  const other = await measure(HERE, 'throttlerLive', Object.keys(candidates.throttlerLive), { rounds: 5 });
  const pieces = await measure(HERE, 'parts', Object.keys(candidates.parts));
  const manyPieces = await measure(HERE, 'manyParts', Object.keys(candidates.manyParts));
  const list = (all) =>
    Object.entries(all)
      .map(([name, { median }]) => `${name} (${ns(median)})`)
      .join(', ');
  const rest = (all, { median: whole }) => ns(Object.values(all).reduce((left, { median }) => left - median, whole));
  const bars = (results) =>
    chart(
      Object.entries(results).map(([name, { median }]) => [name, median]),
      ns,
    );
  const growth = (results, kind) => ratio(results[`${kind}, 10,000 live`], results[`${kind}, 10 live`]);
  const aims = [];
  for (const [work, results] of [
    ['one hot key', hot],
    ['100,000 keys', keys],
  ]) {
    const peer = ratio(results[OURS], results.hitlimit);
    const floor = ratio(results[OURS], results[FLOOR]);
    aims.push([`${work}: time against hitlimit's store`, '≤ 1×', times(peer), peer <= 1]);
    aims.push([`${work}: time against the bare Map`, '≤ 1.5×', times(floor), floor <= 1.5]);
  }
  for (const kind of ['bucket', 'window']) {
    const grown = growth(live, kind);
    aims.push([`${kind}: 10,000 live hits against 10`, '≤ 1.3×', times(grown), grown <= 1.3]);
  }
  publish(
    'memory',
    `## One decision in memory

\`MemoryStore.run\`, called directly, compared with the stores of other libraries on the same keys. Buckets never become empty or full. A request is created for each decision, as by the guard. The bare Map keeps an instant per key and returns a boolean; this library returns what remains, when there is more, and when to retry. @nestjs/throttler keeps every hit: here it is reset after 50 per key.

### One hot key

${timings(hot, OURS, ratio)}

${bars(hot)}

The time of this library for a hot key consists of ${list(pieces)}, each measured individually; the algorithm, the request and the calls take ${rest(pieces, hot[OURS])}. All libraries read the time, which alone is ${percent(pieces['reading the time'].median / hot.hitlimit.median)} of the time of hitlimit's store, which increments a counter and returns the same object each time. The rest is for the request and an answer of the caller's own.

### 100,000 keys

${timings(keys, OURS, ratio)}

${bars(keys)}

Here nothing is in the CPU caches, and most of the time is spent waiting for memory: ${list(manyPieces)}, each measured individually; the algorithm, the request, the answer and the calls take ${rest(manyPieces, keys[OURS])}. hitlimit finds an object by its key and increments it; with the bare Map, which keeps a number, that takes ${times(ratio(keys[FLOOR], keys.hitlimit))} as long.

### Denied

${timings(rejects, OURS, ratio)}

### Live hits

10,000 live hits in a limit of 20,000, compared with 10.

${timings(live, 'bucket, 10 live', ratio)}

@nestjs/throttler scans all of them: ${ns(other['@nestjs/throttler, 10 live'].median)} with 10, ${ns(other['@nestjs/throttler, 10,000 live'].median)} with 10,000, ${times(growth(other, '@nestjs/throttler'))} as long.

### Aims

${verdicts(aims)}`,
  );
}
