import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { compile } from '../support/compile.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { until } from '../support/requests.js';
import { startUpstream, type Upstream } from '../support/upstream.js';

/**
 * `OUTBOUND_SECONDS` makes the undisturbed runs as long, and checks and prints which share of their limit the processes
 * use. Without it, only the limit is checked: on a busy machine they miss turns.
 */
const SECONDS = Number(process.env.OUTBOUND_SECONDS ?? 0);
const TIMEOUT = SECONDS * 1000 + 60_000;

/** The upstream allows five calls per second, by its own clock, and tolerates that the network shifts them by 50 ms. */
const CALLS = 5;
const WINDOW = 950;
/** What a call is later than that is the doing of this machine, which runs five processes for this test. */
const NETWORK = 50;
/** The policies of docs/guides/outbound.md, with how many calls they admit in a second. */
const POLICIES = [
  { policy: { name: 'window', maxRequest: 5, duration: 1050, unit: 'milliseconds' }, rate: 5 / 1.05 },
  { policy: { name: 'spaced', capacity: 1, refill: 1, duration: 210, unit: 'milliseconds' }, rate: 1 / 0.21 },
];

/** By the clock that all processes of a machine share, in ms. */
const time = () => Number(process.hrtime.bigint()) / 1e6;

describe('Two processes that share a bucket', () => {
  // In node_modules, so that its imports resolve.
  const script = join(process.cwd(), 'node_modules', `.outbound-${process.pid}.mjs`);
  beforeAll(() => compile('test/support/outbound-caller.ts', script));
  afterAll(() => rmSync(script, { force: true }));

  let redis: RedisServer;
  let upstream: Upstream;
  let callers: ChildProcess[];
  /** When the upstream received each call, and when it would have without the lateness of this machine, in ms. */
  let arrivals: number[];
  let earliest: number[];
  let rejectedAt: number;
  let rejectNext: boolean;
  let dir: string;
  /** A server that crashes loses nothing that it has acknowledged; `fsync` is for machines that crash. */
  const persistent = () => ['--dir', dir, '--appendonly', 'yes', '--appendfsync', 'no'];

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'nest-rate-limit-outbound-'));
    redis = await startRedis({ args: persistent() });
    arrivals = [];
    earliest = [];
    rejectNext = false;
    upstream = await startUpstream(({ headers, url }, response) => {
      if (url === '/warm-up') return response.end();
      const now = time();
      arrivals.push(now);
      earliest.push(Math.min(now, Number(headers['x-sent']) / 1e6 + NETWORK));
      if (rejectNext) rejectedAt = now;
      response.writeHead(rejectNext ? 429 : 200, rejectNext ? { 'retry-after': '1' } : {});
      rejectNext = false;
      response.end();
    });
  });
  afterEach(async () => {
    for (const caller of callers) if (caller.connected) caller.disconnect();
    await Promise.all(callers.map((caller) => caller.exitCode ?? once(caller, 'exit')));
    await upstream.close();
    await redis.kill();
    rmSync(dir, { recursive: true, force: true });
  });

  const start = async (policy: object) => {
    callers = [1, 2].map(() => fork(script, [redis.url, upstream.url, JSON.stringify(policy)], { execArgv: [] }));
    await Promise.all(callers.map((caller) => once(caller, 'message')));
  };

  /** The shortest time in which the upstream received more calls than it allows. */
  const shortest = (from = earliest) => Math.min(...arrivals.slice(CALLS).map((at, i) => at - from[i]));

  it.each(POLICIES)(
    'never exceed it, from a cold start: $policy.name',
    async ({ policy, rate }) => {
      await start(policy);
      await sleep(SECONDS * 1000);
      await until(() => arrivals.length >= 3 * CALLS, 40_000, 10);
      expect(shortest()).toBeGreaterThan(WINDOW);
      if (SECONDS > 0) {
        const seconds = (time() - arrivals[0]) / 1000;
        const share = arrivals.length / (rate * seconds);
        const six = `six in ${shortest().toFixed()} ms, as received in ${shortest(arrivals).toFixed()} ms`;
        console.log(`${arrivals.length} calls in ${seconds.toFixed(1)} s, ${(share * 100).toFixed(1)} %; ${six}`);
        expect(share).toBeGreaterThan(0.98);
      }
      expect(callers.map(({ exitCode }) => exitCode)).toEqual([null, null]);
    },
    TIMEOUT,
  );

  it.each(POLICIES)(
    'never exceed it, though Redis crashes and the upstream rejects a call: $policy.name',
    async ({ policy }) => {
      await start(policy);
      await sleep(1500);
      rejectNext = true;
      await until(() => !rejectNext && time() > rejectedAt + 1000, 8000, 10);
      const during = arrivals.filter((at) => at > rejectedAt + 100 && at < rejectedAt + 1000);
      expect(during).toEqual([]);
      await sleep(1500);
      const { port } = redis;
      await redis.kill();
      redis = await startRedis({ port, args: persistent() });
      const before = arrivals.length;
      await until(() => arrivals.length > before + 2 * CALLS, 15_000, 10);
      expect(shortest()).toBeGreaterThan(WINDOW);
      expect(callers.map(({ exitCode }) => exitCode)).toEqual([null, null]);
    },
  );
});
