import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Project } from 'ts-morph';
import { migrateFromThrottler } from '../../src/migrate.js';

export const FIXTURES = join('codemod', 'test', 'fixtures');

/** Files by path. */
export type Files = Readonly<Record<string, string>>;

/** An application before and after its migration. */
export interface Fixture {
  readonly title: string;
  /** The major version of @nestjs/throttler. */
  readonly major: number;
  readonly before: Files;
  readonly after: Files;
}

/** Reads the fixtures of a file: `# title`, an optional `version: n`, and `--- before path` or `--- after path`. */
export function fixturesIn(file: string): Fixture[] {
  const parts = readFileSync(join(FIXTURES, file), 'utf8').split(/^# /m).slice(1);
  return parts.map((part) => {
    const [head, ...sections] = part.split(/^--- /m);
    const [title] = head.split('\n');
    const files = (state: string) => {
      const own = sections.filter((section) => section.startsWith(`${state} `));
      return Object.fromEntries(
        own.map((section) => {
          const end = section.indexOf('\n');
          return [section.slice(state.length + 1, end).trim(), `${section.slice(end + 1).trimEnd()}\n`];
        }),
      );
    };
    return {
      title,
      major: Number(/^version: (\d+)/m.exec(head)?.[1] ?? 6),
      before: files('before'),
      after: files('after'),
    };
  });
}

export const fixtureFiles = readdirSync(FIXTURES);

/** Migrates files in memory. */
export function migrated(files: Files, major = 6) {
  const project = new Project({
    useInMemoryFileSystem: true,
    skipLoadingLibFiles: true, // types of the language suffice, and programs are created faster
    compilerOptions: { experimentalDecorators: true, strict: true },
  });
  for (const [path, text] of Object.entries(files)) project.createSourceFile(`/app/${path}`, text);
  const migration = migrateFromThrottler(project, major);
  const changed = [...migration.files].map(([file, text]) => [file.getFilePath().slice('/app/'.length), text]);
  return { ...migration, texts: { ...files, ...Object.fromEntries(changed) } as Files };
}

/** Writes what the migration makes of the fixtures of a file, for review. */
export function updateFixtures(file: string): void {
  const text = fixturesIn(file).map(({ title, major, before }) => {
    const { texts } = migrated(before, major);
    const changed = Object.entries(texts).filter(([path, after]) => after !== before[path]);
    const sections = [
      ...Object.entries(before).map(([path, code]) => `--- before ${path}\n${code}`),
      ...changed.map(([path, code]) => `--- after ${path}\n${code}`),
    ];
    return `# ${title}\n${major === 6 ? '' : `version: ${major}\n`}\n${sections.join('\n')}`;
  });
  writeFileSync(join(FIXTURES, file), `${text.join('\n')}`);
}
