import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { audit } from '../../support/chaos/books.js';
import { Chaos } from '../../support/chaos/chaos.js';
import { CLOCK, NETWORK, PROCESSES, SERVER } from '../../support/chaos/faults.js';
import { compile } from '../../support/compile.js';
import { Random } from '../../support/random.js';

/** `CHAOS_SEED` repeats a run as far as timing allows; `CHAOS_SECONDS` makes all runs longer. */
const SEED = Number(process.env.CHAOS_SEED ?? 20_261);
const MS = Number(process.env.CHAOS_SECONDS ?? 4) * 1000;

const RUNS = [
  { name: 'a network that delays, cuts, drops, half-closes and swallows', kinds: NETWORK, processes: 3 },
  { name: 'busy and throttled processes', kinds: PROCESSES, processes: 3 },
  { name: 'a Redis that is suspended, restarted and failed over', kinds: SERVER, processes: 3 },
  { name: 'all of these at once', kinds: { ...NETWORK, ...PROCESSES, ...SERVER }, processes: 3 },
  ...(['node-redis', 'Valkey GLIDE'] as const).map((client) => ({
    name: `all of these at once, with a client of ${client}`,
    kinds: { ...NETWORK, ...PROCESSES, ...SERVER },
    processes: 3,
    client,
  })),
  { name: 'a clock that steps', kinds: { ...CLOCK, cut: NETWORK.cut }, processes: 1, stepped: true },
];

describe('chaos', () => {
  // In node_modules, so that its imports resolve.
  const script = join(process.cwd(), 'node_modules', `.chaos-${process.pid}.mjs`);

  beforeAll(() => compile('test/support/chaos/worker.ts', script));
  afterAll(() => rmSync(script, { force: true }));

  it.each(RUNS)('the books balance after $name', async ({ kinds, ...setup }) => {
    const chaos = await Chaos.start({ script, seed: SEED, ...setup });
    try {
      const done = await chaos.disturb(kinds, MS, new Random(SEED));
      const { run, incidents } = await chaos.finish();
      expect({ seed: SEED, done, errors: [...audit(run), ...incidents].slice(0, 20) }).toEqual({
        seed: SEED,
        done,
        errors: [],
      });
      const entries = run.processes.flat();
      expect(entries.filter(({ result }) => result === 'allowed').length).toBeGreaterThan(100);
    } finally {
      await chaos.close();
    }
  });
});
