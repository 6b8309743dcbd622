// Allocated bytes and executed instructions per decision: less noisy than times on a busy machine.
import { execFile, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { serve, start } from './lib/measure.mjs';
import { publish, significant, table } from './lib/report.mjs';

const HERE = fileURLToPath(import.meta.url);
const WORK = [
  ['memory', 'hot', 'nest-rate-limit'],
  ['memory', 'hot', 'bare Map, GCRA in six lines'],
  ['memory', 'hot', 'hitlimit'],
  ['guard', 'one limit, Fastify', 'nest-rate-limit'],
  ['guard', 'three limits, Fastify', 'nest-rate-limit'],
  ['guard', 'one limit, Fastify', 'hand-written'],
  ['guard', 'one limit, Fastify', '@nestjs/throttler'],
];
/** A heap large enough that nothing is collected between the two readings of its size. */
const NO_COLLECTION = ['--expose-gc', '--max-semi-space-size=1024', '--min-semi-space-size=1024'];

/** In a child: allocated bytes per decision. */
async function allocated(part, work, name) {
  const { candidates } = await import(`./${part}.mjs`);
  const decide = await candidates[work][name]();
  await decide(100_000);
  globalThis.gc();
  const count = 50_000;
  const before = process.memoryUsage().heapUsed;
  await decide(count);
  return { bytes: (process.memoryUsage().heapUsed - before) / count };
}

/** In a child under valgrind: runs `count` decisions. */
async function repeat(part, work, name, count) {
  const { candidates } = await import(`./${part}.mjs`);
  const decide = await candidates[work][name]();
  await decide(50_000);
  await decide(Number(count));
  process.exit();
}

/** Returns the instructions per decision: a long run minus a short one, which run at the same time. */
async function instructions(part, work, name) {
  const counts = await Promise.all(
    [1000, 301_000].map(async (count) => {
      const { stderr } = await promisify(execFile)(
        'valgrind',
        ['--tool=callgrind', '--callgrind-out-file=/dev/null', process.execPath, '--single-threaded', HERE].concat(
          ['repeat', part, work, name].map(String),
          String(count),
        ),
        { env: { ...process.env, NODE_ENV: 'production' } },
      );
      return Number(/Collected : (\d+)/.exec(stderr)?.[1]);
    }),
  );
  return (counts[1] - counts[0]) / 300_000;
}

const [, , task, ...args] = process.argv;
if (task === 'allocated' && process.send) {
  serve(() => allocated(...args));
} else if (task === 'repeat') {
  await repeat(...args);
}

export async function run() {
  const found = spawnSync('valgrind', ['--version']).status === 0;
  // A whole application takes too long under valgrind.
  const counted = (work) => (found && work[0] === 'memory' ? instructions(...work) : undefined);
  const counts = await Promise.all(WORK.map(counted));
  const rows = [];
  for (const [i, work] of WORK.entries()) {
    const child = await start(HERE, ['allocated', ...work], { execArgv: NO_COLLECTION });
    const { bytes } = await child.ask({});
    await child.stop();
    const row = [`${work[0]}: ${work[1]}: ${work[2]}`, Math.round(bytes).toLocaleString('en-US')];
    rows.push(found ? [...row, counts[i] === undefined ? '' : significant(counts[i])] : row);
  }
  publish(
    'allocations',
    `## Bytes and instructions

Times depend on the load of the machine; these figures hardly do, so they reveal regressions. Bytes that one decision or one call of a guard allocates, without garbage collection${found ? '; instructions are counted by valgrind (callgrind)' : '; instructions are counted where valgrind is installed'}.

${table(found ? ['', 'bytes', 'instructions'] : ['', 'bytes'], rows)}`,
  );
}
