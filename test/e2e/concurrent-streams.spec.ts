import { fork } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { BucketService, RedisStore } from 'nest-rate-limit';
import { parsePolicy } from '../../src/core/policy.js';
import { redisKey } from '../../src/stores/redis/redis-key.js';
import { compile } from '../support/compile.js';
import { redisUrl } from '../support/redis.js';
import { BUDGET, ESTIMATE, type Journal, TOKENS } from '../support/streams/budget.js';

const PREFIX = `streams-${process.pid}-`;
const LIMITS = BUDGET.limits.map(({ name, capacity, refill }) => ({ name, capacity, refill }));
const POLICY = { name: BUDGET.name, limits: LIMITS };

describe('200 concurrent streams on a budget of 1,000,000 tokens', () => {
  // In node_modules, so that its imports resolve.
  const script = join(process.cwd(), 'node_modules', `.streams-${process.pid}.mjs`);
  beforeAll(() => compile('test/support/streams/worker.ts', script));
  afterAll(() => rmSync(script, { force: true }));

  const run = (url: string, prefix: string, seed: number, adapter: string): Promise<Journal> => {
    const worker = fork(script, [url, prefix, String(seed), adapter], { execArgv: [] });
    return once(worker, 'message').then(([journal]) => journal as Journal);
  };

  /** Checks one budget, of which `left` tokens remain. */
  const check = (journals: readonly Journal[], left: number) => {
    const admitted = journals.flatMap(({ streams }) => streams).filter(({ isAdmitted }) => isAdmitted);
    const sum = (of: (real: number) => number) => admitted.reduce((total, { real }) => total + of(real), 0);
    const real = sum((one) => one);
    const underestimates = sum((one) => Math.max(0, one - ESTIMATE));
    expect(real).toBeLessThanOrEqual(TOKENS + underestimates);
    // A bucket keeps the marks of 32 takes; those of older ones are not refunded.
    expect(left).toBeLessThanOrEqual(TOKENS - real);
    expect(left).toBeGreaterThanOrEqual(TOKENS - sum((one) => Math.max(one, ESTIMATE)));
    expect(journals.map(({ leaked }) => leaked)).toEqual(journals.map(() => 0));
    // All that is left is too little for another stream, and each kind of stream has occurred.
    expect(left).toBeLessThan(ESTIMATE);
    for (const end of ['completes', 'fails', 'client disconnects']) {
      expect(admitted.filter((stream) => stream.end === end && stream.parts > 1).length).toBeGreaterThan(10);
    }
    expect(underestimates).toBeGreaterThan(0);
  };

  it('overspend by at most the sum of underestimates in the memory of each process', async () => {
    const journals = await Promise.all([run('memory', '', 1, 'express'), run('memory', '', 2, 'fastify')]);
    for (const journal of journals) check([journal], journal.left as number);
  });

  it('overspend by at most the sum of underestimates in Redis, shared by two processes', async () => {
    const prefix = `${PREFIX}shared:`;
    const journals = await Promise.all([run(redisUrl(), prefix, 3, 'express'), run(redisUrl(), prefix, 4, 'fastify')]);
    const client = new Redis(redisUrl());
    const store = new RedisStore({ client, prefix });
    // The least of both limits, of which the number of requests is far from exhausted.
    check(journals, await new BucketService(store).bucket(POLICY, 'all').available());
    // Without marks, whose state would have an odd length.
    const stored = await client.getBuffer(redisKey(prefix, 'all', parsePolicy(POLICY, '')));
    expect(stored && stored.length % 2).toBe(0);
    store.close();
    client.disconnect();
  });
});
