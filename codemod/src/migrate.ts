import type { Project, SourceFile } from 'ts-morph';
import { DecoratorWriter } from './decorators.js';
import { Findings, type Todo } from './findings.js';
import { GuardsReader } from './guards.js';
import { Imports } from './imports.js';
import { blockOtherImports, convertOthers } from './leftovers.js';
import { ModuleReader } from './module-call.js';
import { ModuleWriter } from './module-writer.js';
import { importedNames, THROTTLER, type Usage, usagesIn } from './names.js';

/** What a migration changes. */
export interface Migration {
  /** The new text of each file that changes. */
  readonly files: ReadonlyMap<SourceFile, string>;
  /** The number of constructs converted, by kind. */
  readonly constructs: ReadonlyMap<string, number>;
  readonly todos: readonly Todo[];
  /** Whether nothing was converted, because a part that decides about limits cannot be. */
  readonly isBlocked: boolean;
  /** The uses of @nestjs/throttler. */
  readonly usages: number;
}

/** Migrates the application of a project from a version of @nestjs/throttler. */
export function migrateFromThrottler(project: Project, major: number): Migration {
  const files = project.getSourceFiles().filter(isCode);
  const usages = files.flatMap(usagesIn);
  const findings = new Findings();
  const imports = new Imports();
  convert(files, usages, { inSeconds: major < 5, blocks: major >= 6 }, findings, imports);
  for (const file of imports.files) {
    for (const name of imports.conflictsIn(file)) {
      findings.block(
        file.getStatements()[0],
        'option-by-option',
        `The name ${name} is needed for nest-rate-limit: rename the other one.`,
      );
    }
  }
  const { edits, todos } = findings.finish();
  // Files that import it without a use have no edits.
  const importing = findings.isBlocked ? [] : files.filter((file) => importedNames(file, [THROTTLER]).size > 0);
  const changed = [...new Set([...edits.changed, ...importing])].map((file): [SourceFile, string] => {
    const text = edits.apply(file);
    return [file, findings.isBlocked ? text : imports.complete(file, text)];
  });
  return {
    files: new Map(changed.filter(([file, text]) => text !== file.getFullText())),
    constructs: findings.isBlocked ? new Map() : findings.constructs,
    todos,
    isBlocked: findings.isBlocked,
    usages: usages.length,
  };
}

/** Imported JSON, such as package.json, is a source file, too. */
function isCode(file: SourceFile): boolean {
  return !file.isInNodeModules() && !file.isDeclarationFile() && file.getExtension() !== '.json';
}

function convert(
  files: readonly SourceFile[],
  usages: readonly Usage[],
  semantics: { inSeconds: boolean; blocks: boolean },
  findings: Findings,
  imports: Imports,
): void {
  blockOtherImports(files, findings);
  const { call, options } = new ModuleReader(files, usages, semantics, findings, imports).read();
  const guards = new GuardsReader(files, usages, findings, imports).read();
  if (call && guards.bound.size === 0) {
    findings.block(
      call,
      'a-module-without-a-guard',
      'No throttler guard is bound in this project, so nothing is limited: remove the module, or bind a guard.',
    );
  }
  if (options) {
    new ModuleWriter(options, guards, semantics, findings, imports).write();
    new DecoratorWriter(options.throttlers, semantics, findings, imports).write(usages);
  } else if (!findings.isBlocked) blockWithoutModule(usages, findings);
  convertOthers(usages, (node) => findings.edits.covers(node), findings, imports);
}

/** Decorators and guards mean nothing without the throttlers of the module. */
function blockWithoutModule(usages: readonly Usage[], findings: Findings): void {
  const names = ['Throttle', 'SkipThrottle', 'ThrottlerGuard'];
  const first = usages.find(({ name }) => names.includes(name));
  if (!first) return;
  findings.block(
    first.identifier,
    'limits-from-a-configuration',
    '`ThrottlerModule.forRoot` is not in this project: run the codemod on the tsconfig.json of the whole application.',
  );
}
