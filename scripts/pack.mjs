import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stage } from './release/stage.mjs';

/** Builds and packs the library, as it is published, into a temporary folder, calls `use`, and removes the folder. */
export async function withPackage(use) {
  const dir = mkdtempSync(join(tmpdir(), 'nest-rate-limit-package-'));
  try {
    const staged = join(dir, 'staged');
    stage(staged);
    const stdio = ['ignore', 'ignore', 'inherit'];
    execFileSync('npm', ['pack', staged, '--silent', '--pack-destination', dir], { stdio });
    const tarball = readdirSync(dir).find((name) => name.endsWith('.tgz'));
    await use({ dir, staged, tarball: join(dir, tarball) });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
