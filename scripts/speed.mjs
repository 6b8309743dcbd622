// Copies figures from docs/benchmarks.md into the README. With --check, changes nothing and exits with 1 if the README
// differs.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(`${root}docs/benchmarks.md`, 'utf8');
const readme = readFileSync(`${root}README.md`, 'utf8');

const OURS = 'nest-rate-limit';
const THROTTLER = '@nestjs/throttler';
const NEST_LAB = '@nest-lab/throttler-storage-redis';
const PEERS = [OURS, THROTTLER];
const IN_REDIS = [OURS, NEST_LAB];

/** Rows of the README table: label, heading of the page, column, and the row of each library. */
const SHOWN = [
  ['a decision in memory, on one key', 'One hot key', 'median', PEERS],
  ['a guard with one limit, Express', 'One limit, Express', 'median', PEERS],
  ['a guard with three limits, Fastify', 'Three limits, Fastify', 'median', PEERS],
  ['a rejection, Express', 'Rejected, Express', 'median', PEERS],
  ['bytes per bucket', 'What buckets weigh, and how they end', 'bytes per bucket', PEERS],
  ['decisions per second in Redis, one at a time', 'Redis', '1 at once', IN_REDIS],
  ['decisions per second in Redis, 64 at once', 'Redis', '64 at once', IN_REDIS],
  [
    'decisions per second in Redis, 64 at once, three limits',
    'Redis',
    '64 at once',
    [`${OURS}, three limits`, `${NEST_LAB}, three throttlers`],
  ],
];

const cellsOf = (line) =>
  line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());

/** Returns a cell of the first table under a heading. */
function figure(heading, column, row) {
  const [, section] = page.split(new RegExp(`^#+ ${heading}$`, 'm'));
  const lines = section?.slice(section.indexOf('\n|') + 1).split('\n') ?? [];
  const table = lines
    .slice(
      0,
      lines.findIndex((line) => !line.startsWith('|')),
    )
    .map(cellsOf);
  const cell = table.find(([name]) => name === row)?.[table[0]?.indexOf(column)];
  if (cell === undefined)
    throw new Error(`docs/benchmarks.md has no row "${row}" with column "${column}" under "${heading}"`);
  return cell;
}

function table() {
  const rows = SHOWN.map(([what, heading, column, names]) => [
    what,
    ...names.map((name) => figure(heading, column, name)),
  ]);
  const all = [['', ...PEERS], ...rows];
  const widths = all[0].map((_, i) => Math.max(...all.map((row) => row[i].length)));
  const line = (cells) =>
    `| ${cells.map((cell, i) => (i ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join(' | ')} |`;
  const rule = widths.map((width, i) => (i ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)));
  return [line(all[0]), line(rule), ...rows.map(line)].join('\n');
}

const wanted = readme.replace(/(<!-- speed -->\n).*?(\n<!-- end of speed -->)/s, `$1\n${table()}\n$2`);
if (!process.argv.includes('--check')) writeFileSync(`${root}README.md`, wanted);
else if (wanted !== readme) {
  console.error('The figures in README.md differ from docs/benchmarks.md: run `npm run speed`');
  process.exitCode = 1;
}
