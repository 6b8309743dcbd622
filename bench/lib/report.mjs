// Prints tables, charts and verdicts, and writes them to docs/benchmarks.md.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';

const PAGE = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url));
const require = createRequire(import.meta.url);

/** Returns a Markdown table with aligned columns, all but the first right-aligned. */
export function table(head, rows) {
  const cells = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, i) => Math.max(3, ...cells.map((row) => row[i].length)));
  const line = (row) =>
    `| ${row.map((cell, i) => (i > 0 ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join(' | ')} |`;
  const rule = `| ${widths.map((width, i) => (i > 0 ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width))).join(' | ')} |`;
  return [line(cells[0]), rule, ...cells.slice(1).map(line)].join('\n');
}

/** Returns a chart of characters with a bar for each `[name, value]`, the longest of 40 characters. */
export function chart(bars, show) {
  const most = Math.max(...bars.map(([, value]) => value));
  const width = Math.max(...bars.map(([name]) => name.length));
  const lines = bars.map(([name, value]) => {
    const length = Math.max(1, Math.round((value / most) * 40));
    return `${name.padEnd(width)}  ${'█'.repeat(length)} ${show(value)}`;
  });
  return `\`\`\`text\n${lines.join('\n')}\n\`\`\``;
}

/** Returns a table of aims and results, with rows of `[what, aim, figure, reached]`. */
export function verdicts(rows) {
  return table(
    ['aim', 'bar', 'measured', 'reached'],
    rows.map(([what, bar, figure, reached]) => [what, bar, figure, reached ? 'yes' : 'no']),
  );
}

export const ns = (value) => (value >= 9995 ? `${significant(value / 1000)} µs` : `${significant(value)} ns`);
export const times = (value) => `${significant(value)}×`;
export const percent = (value) => `${(value * 100).toFixed(value < 0.1 ? 1 : 0)} %`;

export function significant(value) {
  if (value >= 100) return Math.round(value).toLocaleString('en-US');
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** Returns a table of one workload: the median, the quartiles, and the ratio to `ours`. */
export function timings(results, ours, ratio) {
  return table(
    ['', 'median', 'middle half', 'ratio'],
    Object.entries(results).map(([name, result]) => [
      name,
      ns(result.median),
      `${ns(result.low)} – ${ns(result.high)}`,
      times(ratio(result, results[ours])),
    ]),
  );
}

/** Prints a section, and replaces the section of this name on the page. */
export function publish(name, text) {
  console.log(`\n${text}\n`);
  const page = readPage();
  const [start, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`];
  const section = `${start}\n\n${text.trim()}\n\n_${machine()}_\n\n${end}`;
  const from = page.indexOf(start);
  const whole =
    from < 0
      ? `${page.trimEnd()}\n\n${section}\n`
      : page.slice(0, from) + section + page.slice(page.indexOf(end) + end.length);
  writeFileSync(PAGE, whole);
}

function readPage() {
  const sections = (() => {
    try {
      const page = readFileSync(PAGE, 'utf8');
      return page.slice(page.indexOf('<!--'));
    } catch {
      return '';
    }
  })();
  return `${INTRODUCTION}\n\n${sections}`;
}

function machine() {
  const [{ model }] = cpus();
  return `${new Date().toISOString().slice(0, 10)}, Node ${process.versions.node}, ${model.trim()}, ${cpus().length} cores`;
}

const PEERS = [
  '@nestjs/throttler',
  '@nest-lab/throttler-storage-redis',
  'rate-limiter-flexible',
  'express-rate-limit',
  'rate-limit-redis',
  'redis-semaphore',
  '@fastify/rate-limit',
  '@joint-ops/hitlimit',
  'limiter',
  '@nestjs/core',
  'ioredis',
];

function versions() {
  const version = (name) => {
    const ours = require('../package.json').dependencies[name];
    return `${name} ${ours ?? require('../../package.json').devDependencies[name]}`;
  };
  return PEERS.map(version).join(', ');
}

const INTRODUCTION = `# Benchmarks

This page is written by the benchmarks, not by hand.

\`\`\`sh
npm ci
npm run bench           # everything: about 15 minutes; needs \`redis-server\` or \`valkey-server\` on the PATH
npm run bench -- guard  # one part
\`\`\`

It installs the peers into \`bench/\`, compiles the library into \`bench/build/\`, prints the tables below, and replaces them here and in the README.

Compare the ratios, not the times. Each table was measured in one run: candidates alternate in rounds of a fraction of a second, each in its own process. A time is the median of the rounds, a ratio the median of the ratios within each round, and the middle half is the range between the quartiles.

Measured against: ${versions()}.`;
