import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { ModuleKind, ModuleResolutionKind, Project } from 'ts-morph';
import { FIXTURES, fixtureFiles, fixturesIn } from './support/fixtures.js';

const all = fixtureFiles.flatMap((file) => fixturesIn(file).map((fixture) => ({ file, fixture })));

// One program for all, because types of Nest take most of the time.
it('results compile with the types of the library, wherever the input does', () => {
  const project = new Project({
    tsConfigFilePath: 'tsconfig.json',
    skipAddingFilesFromTsConfig: true,
    compilerOptions: {
      module: ModuleKind.Preserve,
      moduleResolution: ModuleResolutionKind.Bundler,
      noUnusedLocals: false,
      noUnusedParameters: false,
    },
  });
  const folders: string[] = [];
  for (const [number, { file, fixture }] of all.entries()) {
    for (const state of ['before', 'after'] as const) {
      const folder = join(process.cwd(), FIXTURES, `${file}-${number}-${state}`);
      folders.push(folder);
      for (const [path, text] of Object.entries({ ...fixture.before, ...fixture[state] })) {
        project.createSourceFile(join(folder, path), text);
      }
    }
  }
  const errorsIn = (folder: string) =>
    project
      .getSourceFiles()
      .filter((source) => source.getFilePath().startsWith(`${folder}/`))
      .flatMap((source) => source.getPreEmitDiagnostics())
      .map((each) => JSON.stringify(each.getMessageText()));
  const worse = all.flatMap(({ fixture }, number) => {
    const [before, after] = [errorsIn(folders[2 * number]), errorsIn(folders[2 * number + 1])];
    const renamed = (error: string) => error.replaceAll('ThrottlerGuard', 'RateLimitGuard');
    const added = after.filter((error) => !before.map(renamed).includes(renamed(error)));
    return added.length > 0 ? [{ title: fixture.title, added }] : [];
  });
  expect(worse).toEqual([]);
});
