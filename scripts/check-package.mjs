// Checks the packed package with publint (exports, files) and attw (types for every module resolution).
import { spawnSync } from 'node:child_process';
import { withPackage } from './pack.mjs';

await withPackage(({ tarball }) => {
  for (const [tool, ...args] of [
    ['publint', '--strict'],
    ['attw', '--no-color'],
  ]) {
    const { status } = spawnSync('npx', ['--no-install', tool, ...args, tarball], { stdio: 'inherit' });
    if (status !== 0) process.exitCode = 1;
  }
});
