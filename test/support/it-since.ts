import { spawnSync } from 'node:child_process';
import { it } from '@jest/globals';
import { redisBinary } from './redis.js';

/** Valkey counts as the version of Redis that it was forked from. */
function serverVersion(): number {
  const { stdout } = spawnSync(redisBinary(), ['--version'], { encoding: 'utf8' });
  return stdout.startsWith('Valkey') ? 7.2 : Number(stdout.match(/v=(\d+\.\d+)/)?.[1]);
}

const version = serverVersion();

/** `it`, for a test about what Redis has since a version. Skips the test if the server of the tests is older. */
export function itSince(since: number): typeof it | typeof it.skip {
  return version >= since ? it : it.skip;
}
