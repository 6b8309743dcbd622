// `npm run bench [-- part…]`: installs the peers, compiles the library, measures, writes docs/benchmarks.md, and copies
// its figures into the README.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = fileURLToPath(new URL('..', import.meta.url));
const PARTS = ['memory', 'manual', 'slots', 'heap', 'guard', 'allocations', 'http', 'redis', 'contention'];

function must(command, args, cwd) {
  const { status } = spawnSync(command, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) process.exit(status ?? 1);
}

/** Whether bench/node_modules has the versions of bench/package.json. */
function installed() {
  const { dependencies } = JSON.parse(readFileSync(`${here}package.json`, 'utf8'));
  return Object.entries(dependencies).every(([name, version]) => {
    const file = `${here}node_modules/${name}/package.json`;
    return existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).version === version;
  });
}

const parts = process.argv.length > 2 ? process.argv.slice(2) : PARTS;
const unknown = parts.find((part) => !PARTS.includes(part));
if (unknown) {
  console.error(`Unknown part "${unknown}": must be one of ${PARTS.join(', ')}`);
  process.exit(1);
}
if (!installed()) must('npm', ['ci', '--no-audit', '--no-fund'], here);
// Outside dist, so that a concurrent build does not interfere.
const tsc = `${root}node_modules/@typescript/native/bin/tsc`;
must(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--outDir', `${here}build`, '--declaration', 'false'], root);
for (const part of parts) {
  const { run } = await import(`./${part}.mjs`);
  await run();
}
must(process.execPath, ['scripts/speed.mjs'], root);
