import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { BucketService, RedisStore } from 'nest-rate-limit';
import { compile } from '../support/compile.js';
import { measured } from '../support/lag.js';
import { redisUrl } from '../support/redis.js';
import { until } from '../support/requests.js';

const CONCURRENCY = 16;
const SLOT_TTL = 1000;

// In node_modules, so that its imports resolve.
const script = join(process.cwd(), 'node_modules', `.slots-${process.pid}.mjs`);

beforeAll(() => compile('test/support/slot-worker.ts', script));
afterAll(() => rmSync(script, { force: true }));

it('never runs more than there are slots in four processes, one of them killed and one suspended', async () => {
  const name = `witness-${process.pid}`;
  const outside = new Redis(redisUrl());
  const args = [redisUrl(), name, `${CONCURRENCY}`, `${SLOT_TTL}`];
  const workers = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const worker = fork(script, args, { execArgv: [] });
      await once(worker, 'message');
      return worker;
    }),
  );
  /** What runs in a process no longer counts: it has ended, or its slots may be lost. */
  const forget = async ({ pid }: ChildProcess) => {
    const all = await outside.smembers(`${name}:running`);
    const own = all.filter((id) => id.startsWith(`${pid}:`));
    if (own.length > 0) await outside.srem(`${name}:running`, ...own);
  };
  const [killed, suspended, ...others] = workers;
  await sleep(500);
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  await forget(killed);
  suspended.kill('SIGSTOP');
  await forget(suspended);
  await sleep(SLOT_TTL + 500);
  suspended.kill('SIGCONT');
  await sleep(500);
  const most = [suspended, ...others].map(async (worker) => {
    const answered = once(worker, 'message');
    worker.send('stop');
    return Number((await answered)[0]);
  });
  for (const each of await Promise.all(most)) {
    expect(each).toBeGreaterThan(CONCURRENCY / 2);
    expect(each).toBeLessThanOrEqual(CONCURRENCY);
  }
  const store = await RedisStore.connect(redisUrl(), { prefix: `${name}:` });
  const bucket = new BucketService(store).bucket({ name, concurrency: CONCURRENCY, slotTtl: SLOT_TTL }, 'key');
  const { ms } = await measured(() => until(async () => (await bucket.available()) === CONCURRENCY, 15_000, 20));
  expect(ms).toBeLessThan(SLOT_TTL + 1000);
  store.close();
  outside.disconnect();
});
