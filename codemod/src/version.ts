import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { THROTTLER } from './names.js';

interface Manifest {
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

/** The major version of @nestjs/throttler that a file imports: the installed one, or else that of package.json. */
export function throttlerMajor(file: string): number | undefined {
  for (const folder of foldersAbove(file)) {
    const installed = manifestIn(join(folder, 'node_modules', THROTTLER));
    const own = manifestIn(folder);
    const range =
      own?.dependencies?.[THROTTLER] ?? own?.devDependencies?.[THROTTLER] ?? own?.peerDependencies?.[THROTTLER];
    const major = Number(/\d+/.exec(installed?.version ?? range ?? '')?.[0] ?? Number.NaN);
    if (!Number.isNaN(major)) return major;
  }
  return undefined;
}

/** The package.json files above a file, the nearest first. */
export function manifestsAbove(file: string): string[] {
  return foldersAbove(file)
    .map((folder) => join(folder, 'package.json'))
    .filter((path) => existsSync(path));
}

function foldersAbove(file: string): string[] {
  const folders = [dirname(file)];
  while (dirname(folders[folders.length - 1]) !== folders[folders.length - 1]) {
    folders.push(dirname(folders[folders.length - 1]));
  }
  return folders;
}

function manifestIn(folder: string): Manifest | undefined {
  const path = join(folder, 'package.json');
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
}
