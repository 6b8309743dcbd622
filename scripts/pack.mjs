import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Builds and packs the library into a temporary folder, calls `use`, and removes the folder. */
export async function withPackage(use) {
  const dir = mkdtempSync(join(tmpdir(), 'nest-rate-limit-package-'));
  try {
    execFileSync('npm', ['pack', '--silent', '--pack-destination', dir], {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    await use({ dir, tarball: join(dir, readdirSync(dir)[0]) });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
