import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { BucketService, RedisStore } from '../../src/index.js';

/*
 * A process that works in slots until it is stopped: `node worker.mjs <redis url> <name> <concurrency> <slotTtl>`. A
 * set in Redis has what runs in all processes. Sends the most that it has seen in it.
 */
const [, , url = '', name = '', concurrency, slotTtl] = process.argv;
const running = `${name}:running`;
const outside = new Redis(url);
const store = await RedisStore.connect(url, { prefix: `${name}:` });
const bucket = new BucketService(store).bucket(
  { name, concurrency: Number(concurrency), slotTtl: Number(slotTtl) },
  'key',
);
let isStopping = false;
let most = 0;

async function work(id: string): Promise<void> {
  const slot = await bucket.acquire();
  if (!slot.signal.aborted) {
    const results = await outside.multi().sadd(running, id).scard(running).exec();
    most = Math.max(most, Number(results?.[1][1]));
    await sleep(20);
    await outside.srem(running, id);
  }
  await slot.release();
}

async function repeat(n: number): Promise<void> {
  for (let i = 0; !isStopping; i++) await work(`${process.pid}:${n}:${i}`);
}

process.once('message', async () => {
  isStopping = true;
  await all;
  process.send?.(most, () => process.exit());
});
const all = Promise.all(Array.from({ length: 16 }, (_, n) => repeat(n)));
process.send?.('started');
