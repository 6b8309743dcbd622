import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Project } from 'ts-morph';
import { MARK } from './findings.js';
import { type Migration, migrateFromThrottler } from './migrate.js';
import { REDIS_STORAGES, THROTTLER, usagesIn } from './names.js';
import { updateManifest } from './package-json.js';
import { reportOf } from './report.js';
import { manifestsAbove, throttlerMajor } from './version.js';

/** An error of the user, without a stack. */
export class UsageError extends Error {}

export interface RunOptions {
  readonly dryRun?: boolean;
  /** The major version of @nestjs/throttler; by default the one that is installed. */
  readonly throttler?: number;
}

/** Runs the migration on a folder or a tsconfig.json. Returns the report, and 1 if there is something left to do. */
export function run(path: string, { dryRun = false, throttler }: RunOptions = {}): { report: string; exitCode: 0 | 1 } {
  const root = resolve(path);
  if (!existsSync(root)) throw new UsageError(`${path} does not exist; give a folder or a tsconfig.json`);
  const folder = statSync(root).isDirectory() ? root : dirname(root);
  const project = projectOf(root);
  const used = project.getSourceFiles().find((file) => usagesIn(file).length > 0);
  const major = throttler ?? (used ? throttlerMajor(used.getFilePath()) : 6);
  if (major === undefined) {
    throw new UsageError(`The version of ${THROTTLER} is unknown: install it, or give --throttler <major version>`);
  }
  const migration = migrateFromThrottler(project, major);
  const manifests = manifestChanges(project, migration);
  if (!dryRun) {
    for (const [file, text] of migration.files) writeFileSync(file.getFilePath(), text);
    for (const [file, text] of manifests) writeFileSync(file, text);
  }
  const texts = project.getSourceFiles().map((file) => migration.files.get(file) ?? file.getFullText());
  const isDone = !texts.some((text) => text.includes(MARK));
  return { report: reportOf(migration, folder, dryRun), exitCode: isDone ? 0 : 1 };
}

function projectOf(root: string): Project {
  const isFolder = statSync(root).isDirectory();
  const config = isFolder ? join(root, 'tsconfig.json') : root;
  try {
    if (existsSync(config)) return new Project({ tsConfigFilePath: config });
  } catch (error) {
    throw new UsageError(`${config} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
  const project = new Project({ compilerOptions: { experimentalDecorators: true } });
  project.addSourceFilesAtPaths([
    join(root, '**/*.ts'),
    `!${join(root, '**/node_modules/**')}`,
    `!${join(root, '**/dist/**')}`,
  ]);
  return project;
}

/** The package.json files that name @nestjs/throttler, above the files that change. */
function manifestChanges(project: Project, { files, isBlocked }: Migration): Map<string, string> {
  const changes = new Map<string, string>();
  if (isBlocked || files.size === 0) return changes;
  const texts = project.getSourceFiles().map((file) => files.get(file) ?? file.getFullText());
  const left = new Set(
    [THROTTLER, ...REDIS_STORAGES].filter((name) =>
      texts.some((text) => new RegExp(`from ['"]${name}['"]`).test(text)),
    ),
  );
  for (const path of new Set([...files.keys()].flatMap((file) => manifestsAbove(file.getFilePath())))) {
    const text = readFileSync(path, 'utf8');
    const updated = text.includes(`"${THROTTLER}"`) ? updateManifest(text, left) : text;
    if (updated !== text) changes.set(path, updated);
  }
  return changes;
}
