// Checks the packed package: that it has its files, with publint (exports, files) and attw (types for every module
// resolution).
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { withPackage } from './pack.mjs';

const { schematics } = JSON.parse(readFileSync('package.json', 'utf8'));
const FILES = ['README.md', 'LICENSE', 'llms.txt', 'agent-guide.md', 'policies.schema.json', schematics];

await withPackage(({ staged, tarball }) => {
  for (const file of FILES.filter((name) => !existsSync(join(staged, name)))) {
    console.error(`The package must have ${file}`);
    process.exitCode = 1;
  }
  for (const [tool, ...args] of [
    ['publint', '--strict'],
    ['attw', '--no-color'],
  ]) {
    const { status } = spawnSync('npx', ['--no-install', tool, ...args, tarball], { stdio: 'inherit' });
    if (status !== 0) process.exitCode = 1;
  }
});
