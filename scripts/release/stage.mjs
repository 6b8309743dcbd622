import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { absoluteLinks, hostOf, metadataOf } from './repository.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Writes the package of a folder of the repository as it is published: the files of `npm pack`, with the address of the
 * repository in package.json and in the links of its pages. All packages have the version of the library. Without an
 * address links stay relative, and the package is private, so that npm does not publish it.
 */
export function stage(folder, { from = '.', build = true, library = readManifest('.') } = {}) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  unpack(from, folder, build ? [] : ['--ignore-scripts']);
  const { scripts, devDependencies, repository, ...published } = readManifest(from);
  const { version } = library;
  const host = library.repository && hostOf(library);
  Object.assign(published, { version }, host ? metadataOf(host, from) : { private: true });
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
  for (const name of readdirSync(folder).filter((file) => host && /\.(?:md|txt)$/.test(file))) {
    const page = readFileSync(join(folder, name), 'utf8');
    writeFileSync(join(folder, name), absoluteLinks(page, host, `v${version}`, from));
  }
}

function readManifest(directory) {
  return JSON.parse(readFileSync(join(root, directory, 'package.json'), 'utf8'));
}

/** Packs a package, and unpacks the result into a folder. */
function unpack(from, folder, options) {
  const scratch = mkdtempSync(join(tmpdir(), 'nest-rate-limit-stage-'));
  try {
    const stdio = ['ignore', 'ignore', 'inherit'];
    execFileSync('npm', ['pack', '--silent', '--pack-destination', scratch, ...options], {
      cwd: join(root, from),
      stdio,
    });
    const [tarball] = readdirSync(scratch);
    execFileSync('tar', ['-xzf', join(scratch, tarball), '-C', folder, '--strip-components=1'], { stdio });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
