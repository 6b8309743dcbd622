#!/usr/bin/env node
import { parseArgs } from 'node:util';
import { run, UsageError } from './run.js';

const USAGE = `Usage: nest-rate-limit-codemod from-throttler <folder or tsconfig.json> [--dry-run] [--throttler <major version>]

Migrates a NestJS application from @nestjs/throttler to nest-rate-limit.
Exit code: 0 done, 1 TODO comments are left, 2 error.`;

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { 'dry-run': { type: 'boolean' }, throttler: { type: 'string' }, help: { type: 'boolean' } },
  });
  const [migration, path, ...others] = positionals;
  if (values.help) console.log(USAGE);
  else {
    if (migration !== 'from-throttler' || path === undefined || others.length > 0) throw new UsageError(USAGE);
    const throttler = values.throttler === undefined ? undefined : majorOf(values.throttler);
    const { report, exitCode } = run(path, { dryRun: values['dry-run'], throttler });
    console.log(report);
    process.exitCode = exitCode;
  }
} catch (error) {
  const isUsage = error instanceof UsageError || (error instanceof TypeError && 'code' in error);
  console.error(isUsage ? error.message : error);
  process.exitCode = 2;
}

function majorOf(text: string): number {
  const major = Number(text);
  if (Number.isInteger(major) && major >= 1) return major;
  throw new UsageError(`--throttler must be a major version such as 6, got ${JSON.stringify(text)}`);
}
