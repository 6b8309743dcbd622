import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { NestFactory } from '@nestjs/core';
import { BucketService, RateLimitModule } from '../../src/index.js';
import { limitFetch } from '../../src/outbound/index.js';

/*
 * A process that calls an upstream as often as its bucket admits: `node caller.mjs <redis url> <upstream url> <policy>`.
 * It stops when its parent disconnects.
 */
const [, , redis = '', upstream = '', policy = ''] = process.argv;
const CALLERS = 8;

const root = RateLimitModule.forRoot({ store: { redis, prefix: 'outbound:' }, failure: { mode: 'closed' } });
const app = await NestFactory.createApplicationContext({ module: class {}, imports: [root] }, { logger: false });
/** Reports to the upstream when the call was sent, by the clock that all processes of a machine share. */
const send: typeof globalThis.fetch = (input, init) =>
  globalThis.fetch(input, { ...init, headers: { 'x-sent': `${process.hrtime.bigint()}` } });
const bucket = app.get(BucketService).bucket(JSON.parse(policy), 'all');
const fetch = limitFetch(bucket, { fetch: send, maxWait: '10s' });
// The first call of a process is slow, because it loads the client.
await (await globalThis.fetch(`${upstream}/warm-up`)).text();

let isStopped = false;

async function call(): Promise<void> {
  while (!isStopped) {
    try {
      await (await fetch(upstream)).text();
    } catch (error) {
      // Rejections by the limit, and failures of Redis. Anything else ends this process, which fails the test.
      if (!(error instanceof Error && 'retryAfter' in error) && !isStopped) throw error;
      await sleep(20);
    }
  }
}

process.once('disconnect', async () => {
  isStopped = true;
  await app.close();
  process.exit();
});
process.send?.('ready');
await Promise.all(Array.from({ length: CALLERS }, call));
