import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Get } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import {
  BucketService,
  type Decision,
  RateLimit,
  RateLimitExceededException,
  RateLimitModule,
  type RateLimitOptions,
  RateLimitStoreError,
} from '../../../src/index.js';
import { type Clock, systemClock } from '../../../src/util/clock.js';
import { Lag } from '../lag.js';
import { Random } from '../random.js';
import { type Entry, type Order, OVERRUN, POOL, QUEUE, RATE, REFUNDED, TAKEN, TIMEOUT, WINDOW } from './journal.js';
import { openClient } from './open-client.js';

/*
 * One of the processes of a chaos test: `node worker.mjs <redis url> <prefix> <seed> <clock> <client>`. It takes, charges,
 * refunds, queues and serves requests at random until a message stops it, closes its application, and sends its journal.
 */
const [, , url = '', prefix, seed, clock, library] = process.argv;
const random = new Random(Number(seed));
const entries: Entry[] = [];
const incidents: string[] = [];
const lag = new Lag();

// Before the application starts, an error ends the process.
function recordIncidents(): void {
  process.on('unhandledRejection', (error) => incidents.push(`unhandled rejection: ${(error as Error)?.stack}`));
  process.on('uncaughtException', (error) => incidents.push(`uncaught exception: ${error.stack}`));
  process.on('warning', ({ name, message }) => incidents.push(`${name}: ${message}`));
}

const realCosts = new Map<string, number>();
const settled = (policy: object, name: string): RateLimitOptions => ({
  ...policy,
  onStoreError: 'closed',
  key: 'all',
  cost: TAKEN,
  settle: (context) => realCosts.get(`${name} ${context.switchToHttp().getRequest().query.id}`) ?? TAKEN,
});

@Controller()
class Work {
  @RateLimit(settled(REFUNDED, 'refunded'))
  @Get('refunded')
  refunded(): string {
    return '';
  }

  @RateLimit(settled(OVERRUN, 'overrun'))
  @Get('overrun')
  overrun(): string {
    return '';
  }
}

/** A clock that the test sets, instead of the server's. */
let offset = 0;
const steppedClock: Clock = { now: () => Date.now() + offset, sleep: systemClock.sleep };
const client = await openClient(url, library);
const store = { redis: client ?? url, prefix, ...(clock === 'stepped' ? { clock: steppedClock } : {}) };
const policies = {
  pool: { ...POOL, onStoreError: 'closed' },
  queue: { ...QUEUE, onStoreError: 'closed' },
  rate: RATE,
  window: WINDOW,
} as const;
const root = RateLimitModule.forRoot({ store, policies, failure: { mode: 'local', timeout: TIMEOUT, instances: 3 } });
const app = await NestFactory.create<NestFastifyApplication>(
  { module: class {}, imports: [root], controllers: [Work] },
  new FastifyAdapter(),
  { logger: false },
);
await app.init();
await app.getHttpAdapter().getInstance().ready();
recordIncidents();
const buckets = app.get(BucketService);

type Result = Pick<Entry, 'result' | 'source' | 'outcome' | 'real'> & { readonly delay?: number };

function decided({ allowed, source, delay }: Decision): Result {
  return { result: allowed ? 'allowed' : 'denied', source, delay };
}

function failed(error: unknown): Result {
  if (error instanceof RateLimitExceededException) return { ...decided(error.decision), result: 'denied' };
  if (error instanceof RateLimitStoreError) {
    return { result: 'failed', outcome: (error as { outcome?: string }).outcome };
  }
  if ((error as Error)?.name === 'AbortError') return { result: 'aborted' };
  incidents.push(`unexpected error: ${(error as Error)?.stack}`);
  return { result: 'failed' };
}

async function note(
  verb: Entry['verb'],
  policy: string,
  key: string,
  amount: number,
  call: () => Promise<Result>,
): Promise<void> {
  const from = performance.now();
  const { delay = 0, ...result } = await call().catch(failed);
  // An aborted wait ends when it is aborted, not by a deadline.
  const late = result.result === 'aborted' ? 0 : performance.now() - from - delay - TIMEOUT - lag.since(from);
  entries.push({ verb, policy, key, amount, ...result, late });
}

let requests = 0;

async function request(path: 'refunded' | 'overrun'): Promise<Result> {
  const id = `${seed}-${requests++}`;
  const real = path === 'refunded' ? random.between(0, TAKEN) : random.between(TAKEN, 2 * TAKEN);
  realCosts.set(`${path} ${id}`, real);
  const { statusCode } = await app.inject({ url: `/${path}?id=${id}` });
  if (statusCode === 200) return { result: 'allowed', source: 'store', real };
  if (statusCode !== 503) incidents.push(`${path} was answered with ${statusCode}`);
  return { result: 'failed' };
}

const VERBS: Record<string, () => Promise<void>> = {
  rate: async () => {
    const key = random.pick(['a', 'b']);
    await note('decide', 'rate', key, 1, async () => decided(await buckets.bucket('rate', key).decide()));
  },
  window: async () => {
    await note('decide', 'window', 'a', 1, async () => decided(await buckets.bucket('window', 'a').decide()));
  },
  take: async () => {
    const amount = random.between(1, 5);
    await note('decide', 'pool', 'a', amount, async () => decided(await buckets.bucket('pool', 'a').decide(amount)));
  },
  put: async () => {
    await note('put', 'pool', 'a', 1, async () => {
      await buckets.bucket('pool', 'a').put(1);
      return { result: 'allowed' };
    });
  },
  charge: async () => {
    const amount = random.between(1, 5);
    await note('charge', 'pool', 'a', amount, async () => decided(await buckets.bucket('pool', 'a').charge(amount)));
  },
  queue: async () => {
    const signal = random.next() < 0.4 ? AbortSignal.timeout(random.between(1, 60)) : undefined;
    const aborted = () => Promise.resolve<Result>({ result: 'aborted' });
    await note('consume', 'queue', 'a', 1, () =>
      buckets
        .bucket('queue', 'a')
        .consume(1, { maxWait: 200, signal })
        .then(decided, (error) => (signal?.aborted && error === signal.reason ? aborted() : failed(error))),
    );
  },
  refunded: () => note('request', 'refunded', 'all', TAKEN, () => request('refunded')),
  overrun: () => note('request', 'overrun', 'all', TAKEN, () => request('overrun')),
};

let isStopped = false;

async function loop(): Promise<void> {
  while (!isStopped) {
    await VERBS[random.pick(Object.keys(VERBS))]();
    await sleep(random.between(0, 20));
  }
}

const loops = Array.from({ length: 12 }, loop);

process.on('message', async (order: Order) => {
  if ('busy' in order) {
    for (const end = performance.now() + order.busy; performance.now() < end; );
  }
  if ('step' in order) offset += order.step;
  if (!('stop' in order)) return;
  isStopped = true;
  await Promise.all(loops);
  lag.stop();
  await app.close();
  await client?.close();
  // The test disconnects. This process then exits, unless something was left running.
  process.send?.({ entries, incidents });
});
process.send?.('ready');
