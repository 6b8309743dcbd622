import { createHash, randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { RedisStore } from 'nest-rate-limit';
import type { FakeClock } from 'nest-rate-limit/testing';
import { slidingWindow } from '../../src/core/algorithms/sliding-window.js';
import { plainAnswer } from '../../src/core/answer.js';
import type { StoreAnswer } from '../../src/core/decision.js';
import { SCRIPT } from '../../src/stores/redis/lua/script.js';

/** Returns the script with its only occurrence of `text` replaced. */
function patchScript(text: string, replacement: string): string {
  if (SCRIPT.split(text).length !== 2) throw new Error(`The script does not contain exactly once: ${text}`);
  return SCRIPT.replace(text, () => replacement);
}

/** The keys of one test file: Jest runs several in one process. */
const PREFIX = `fast-path-${randomUUID()}-`;
const COUNTERS = ['buckets', 'window'].map((path) => PREFIX + path);
/** Counts the takes of each fast path in Redis. */
export const COUNTING = patchScript(
  '  if row then\n',
  `  if row then
    redis.call('INCR', input[policy + 2] == ${slidingWindow.id} and '${COUNTERS[1]}' or '${COUNTERS[0]}')\n`,
);
export const WITHOUT_FAST_PATH = SCRIPT.replaceAll(' and not (opened and opened[key]) then', ' and false then');

/** Adds how many takes used each fast path, and resets the counters. */
export async function addHits(client: Redis, hits: number[]): Promise<void> {
  for (const [i, name] of COUNTERS.entries()) hits[i] += Number(await client.getset(name, 0));
}

let stores = 0;

/** Opens a store that runs `script` instead of the real script. */
export function openWithScript(client: Redis, script: string, clock: FakeClock) {
  const sha = createHash('sha1').update(script).digest('hex');
  const real = client as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  const patched = {
    on: () => {},
    removeListener: () => {},
    evalshaBuffer: (_sha: string, ...args: unknown[]) => real.evalshaBuffer(sha, ...args),
    evalBuffer: (_script: string, ...args: unknown[]) => real.evalBuffer(script, ...args),
  };
  const prefix = `${PREFIX}${++stores}:`;
  const store = new RedisStore({ client: patched as never, clock, prefix });
  const stored = async () => {
    const keys = (await client.keys(`${prefix}*`)).sort();
    const values = await Promise.all(keys.map((key) => client.getBuffer(key)));
    return keys.map((key, i) => [key.slice(prefix.length), values[i]?.toString('hex')]);
  };
  return { store, stored, prefix };
}

export const outcomeOf = (result: PromiseSettledResult<StoreAnswer>) =>
  result.status === 'rejected' ? String(result.reason) : plainAnswer(result.value);
