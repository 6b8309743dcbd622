// Measures slots of concurrency limits in memory: the store, and handles on a bucket.
import { fileURLToPath } from 'node:url';
import { parsePolicy } from './build/core/policy.js';
import { BucketService, MemoryStore } from './build/index.js';
import { measure, ratio } from './lib/measure.mjs';
import { publish, times, timings, verdicts } from './lib/report.mjs';
import { addresses, asyncTurns, HUGE, MANY } from './memory.mjs';

const HERE = fileURLToPath(import.meta.url);
const BUCKET = { name: 'api', capacity: HUGE, refill: 1, unit: 'hours' };
const SLOTS = { name: 'api', concurrency: 5000 };
const id = 2 ** 46;

/** Calls the store; `held` slots of each key are held during the calls. */
function atStore(options, held, decide) {
  return (keys) => {
    const store = new MemoryStore();
    const policy = parsePolicy(options, 'api');
    const run = decide(store, policy);
    for (const key of keys) {
      for (let i = 0; i < held; i++) takeSlot(store, policy, key, { id, isLasting: true });
    }
    let i = 0;
    return (count) => {
      for (let n = 0; n < count; n++) {
        if (!run(keys[i]).allowed) throw new Error('A request was denied');
        if (++i === keys.length) i = 0;
      }
    };
  };
}

const takeSlot = (store, policy, key, holder) =>
  store.run({ verb: 'take', takes: [{ policy, key, amount: 1000, maxWait: 0, holder }] });

const TAKE = 'bucket: take';
const SLOT = 'slot: take';
const BOTH = 'slot: take and release';
const takeToken = (store, policy) => (key) =>
  store.run({ verb: 'take', takes: [{ policy, key, amount: 1000, maxWait: 0 }] });
const takeAndRelease = (count) => (store, policy) => {
  const holder = { id, isLasting: true };
  let sequence = 0;
  return (key) => {
    takeSlot(store, policy, key, holder);
    const report = { id, count, sequence: ++sequence, waited: undefined, isLasting: true };
    return store.run({
      verb: 'hold',
      takes: [{ policy, key, amount: 1000, maxWait: 0, holder: report }],
    });
  };
};
const stores = {
  [TAKE]: atStore(BUCKET, 0, takeToken),
  [SLOT]: atStore({ name: 'api', concurrency: HUGE }, 0, (store, policy) => {
    const holder = { id, isLasting: true };
    return (key) => takeSlot(store, policy, key, holder);
  }),
  [BOTH]: atStore(SLOTS, 0, takeAndRelease(0)),
  [`${BOTH}, 4,000 held`]: atStore(SLOTS, 4000, takeAndRelease(4000)),
};

function atHandle(options, held, call) {
  return async (keys) => {
    const buckets = new BucketService(new MemoryStore());
    for (let i = 0; i < held; i++) for (const key of keys) await buckets.bucket(options, key).acquire();
    return asyncTurns(keys, (key) => call(buckets.bucket(options, key)));
  };
}
const CONSUME = 'bucket: consume';
const PUT = 'bucket: consume and put';
const ACQUIRE = 'slot: acquire and release';
const acquire = async (one) => (await one.acquire()).release();
const handles = {
  [CONSUME]: atHandle(BUCKET, 0, (one) => one.consume()),
  'bucket: decide': atHandle(BUCKET, 0, (one) => one.decide()),
  [PUT]: atHandle(BUCKET, 0, async (one) => one.put(1, { decision: await one.consume() })),
  [ACQUIRE]: atHandle(SLOTS, 0, acquire),
  'slot: tryAcquire and release': atHandle(SLOTS, 0, async (one) => (await one.tryAcquire()).release()),
  [`${ACQUIRE}, 4,000 held`]: atHandle(SLOTS, 4000, acquire),
};
const on = (makers, keys) =>
  Object.fromEntries(Object.entries(makers).map(([name, make]) => [name, () => make(addresses(keys))]));
const few = (makers) => Object.fromEntries(Object.entries(makers).filter(([name]) => !name.endsWith('held')));

export const candidates = {
  store: on(stores, 1),
  storeKeys: on(few(stores), MANY),
  handle: on(handles, 1),
  handleKeys: on(few(handles), MANY),
};

export async function run() {
  const results = {};
  for (const work of Object.keys(candidates)) results[work] = await measure(HERE, work, Object.keys(candidates[work]));
  const { store, storeKeys, handle, handleKeys } = results;
  const aim = (what, part, name, base, bar) => {
    const cost = ratio(part[name], part[base]);
    return [what, `≤ ${bar}×`, times(cost), cost <= bar];
  };
  publish(
    'slots',
    `## Slots in memory

Slots of a concurrency limit of 5,000, taken and released, against tokens of a bucket: by \`MemoryStore.run\`, and by handles on a bucket.

### Slots of one key, in the store

${timings(store, TAKE, ratio)}

### Slots of 100,000 keys, in the store

${timings(storeKeys, TAKE, ratio)}

### Slots of one key, by a handle

${timings(handle, CONSUME, ratio)}

### Slots of 100,000 keys, by a handle

${timings(handleKeys, CONSUME, ratio)}

### Aims

${verdicts([
  aim('store: taking a slot against a token', store, SLOT, TAKE, 1.3),
  aim('store: taking and releasing a slot', store, BOTH, TAKE, 2.2),
  aim('store: the same while 4,000 are held', store, `${BOTH}, 4,000 held`, TAKE, 2.2),
  aim('handle: `acquire` and `release` against `consume`', handle, ACQUIRE, CONSUME, 2.2),
  aim('handle: the same while 4,000 are held', handle, `${ACQUIRE}, 4,000 held`, CONSUME, 2.2),
])}`,
  );
}
