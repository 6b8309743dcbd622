// Measures manual checks: methods of a bucket, in memory.
import { fileURLToPath } from 'node:url';
import { NestFactory } from '@nestjs/core';
import 'reflect-metadata';
import { measure, ratio } from './lib/measure.mjs';
import { moduleOf } from './lib/nest.mjs';
import { publish, times, timings, verdicts } from './lib/report.mjs';
import { addresses, asyncTurns, HUGE, MANY } from './memory.mjs';

const HERE = fileURLToPath(import.meta.url);
const HOUR = 3600;
const DECIDE = 'nest-rate-limit, decide';
const TRY = 'nest-rate-limit, tryConsume';
const FLEXIBLE = 'rate-limiter-flexible, consume';

/** `check` takes a token of the bucket of a key; it must resolve with true, or with an allowed decision. */
async function ours(keys, limit, check) {
  const { BucketService, RateLimitModule } = await import('./build/index.js');
  const root = moduleOf({ imports: [RateLimitModule.forRoot()] });
  const app = await NestFactory.createApplicationContext(root, { logger: false });
  const buckets = app.get(BucketService, { strict: false });
  const policy = { name: 'api', ...limit };
  const decide = (key) => check(buckets.bucket(policy, key));
  const run = asyncTurns(keys, decide);
  return async (count) => {
    await run(count);
    const last = await decide(keys[0]);
    if (!(last.allowed ?? last)) throw new Error('A bucket is exhausted');
  };
}

const bucket = { capacity: HUGE, refill: 1, unit: 'hours' };
const window = { maxRequest: HUGE, unit: 'hours' };
const makers = {
  [DECIDE]: (keys) => ours(keys, bucket, (one) => one.decide()),
  [TRY]: (keys) => ours(keys, bucket, (one) => one.tryConsume()),
  'nest-rate-limit, decide, sliding window': (keys) => ours(keys, window, (one) => one.decide()),
  [FLEXIBLE]: async (keys) => {
    const { RateLimiterMemory } = await import('rate-limiter-flexible');
    const limiter = new RateLimiterMemory({ points: HUGE, duration: HOUR });
    return asyncTurns(keys, (key) => limiter.consume(key));
  },
  'a resolved promise': (keys) => asyncTurns(keys, () => Promise.resolve(true)),
};
const on = (keys) =>
  Object.fromEntries(Object.entries(makers).map(([name, make]) => [name, () => make(addresses(keys))]));

export const candidates = { hot: on(1), keys: on(MANY) };

export async function run() {
  const hot = await measure(HERE, 'hot', Object.keys(makers));
  const keys = await measure(HERE, 'keys', Object.keys(makers));
  const aims = [
    ['one hot key', hot],
    ['100,000 keys', keys],
  ].flatMap(([work, results]) =>
    [DECIDE, TRY].map((name) => {
      const part = ratio(results[name], results[FLEXIBLE]);
      return [`${work}: ${name.split(', ')[1]} against consume`, '≤ 0.7×', times(part), part <= 0.7];
    }),
  );
  publish(
    'manual',
    `## A manual check in memory

\`buckets.bucket(policy, key)\` and one of its methods, awaited, against the method of rate-limiter-flexible. Awaiting a promise that is already resolved is the least that such a call can take.

### One hot key, checked manually

${timings(hot, DECIDE, ratio)}

### 100,000 keys, checked manually

${timings(keys, DECIDE, ratio)}

### Aims

${verdicts(aims)}`,
  );
}
