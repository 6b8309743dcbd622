import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Packs the library (which builds it) into a scratch folder, hands it to `use`, and removes the folder. */
export async function withPackage(use) {
  const dir = mkdtempSync(join(tmpdir(), 'nest-rate-limit-package-'));
  try {
    execFileSync('npm', ['pack', '--silent', '--pack-destination', dir], {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const tarball = join(dir, readdirSync(dir)[0]);
    return await use({ dir, tarball, size: statSync(tarball).size });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
