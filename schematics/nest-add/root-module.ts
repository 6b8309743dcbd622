import { posix } from 'node:path';
import type { Tree } from '@angular-devkit/schematics';
import { maskSource } from './mask.js';
import { declaresModule } from './module-source.js';

/** A file that declares the root module, and its class if that is known. */
export interface RootModule {
  readonly path: string;
  readonly className?: string;
}

/** Finds the module that the entry file starts, or else `app.module.ts`. */
export function findRootModule(tree: Tree, sourceRoot: string): RootModule | undefined {
  const candidates = entryFiles(tree, sourceRoot).flatMap((entry) => startedModules(tree, entry));
  candidates.push({ path: posix.join(sourceRoot, 'app.module.ts') });
  return candidates.find(({ path, className }) => declaresModule(readText(tree, path), className));
}

/** Returns the text of a file, or an empty one if there is none. */
export function readText(tree: Tree, path: string): string {
  return tree.read(path)?.toString() ?? '';
}

interface NestCliProject {
  readonly sourceRoot?: string;
  readonly entryFile?: string;
}

/** Returns the possible entry files: those that `nest-cli.json` names for these sources, and `main.ts`. */
function entryFiles(tree: Tree, sourceRoot: string): string[] {
  const projects = nestCliProjects(tree).filter((project) => project.sourceRoot === sourceRoot);
  const names = projects.flatMap(({ entryFile }) => (entryFile ? [entryFile, posix.basename(entryFile)] : []));
  return [...names, 'main'].map((name) => posix.join(sourceRoot, `${name}.ts`));
}

function nestCliProjects(tree: Tree): NestCliProject[] {
  try {
    const config = JSON.parse(readText(tree, 'nest-cli.json')) as NestCliProject & { projects?: object };
    return [...Object.values(config.projects ?? {}), config];
  } catch {
    return []; // Without a valid file, the entry file is `main.ts`.
  }
}

/** Returns the modules that an entry file passes to `NestFactory`. */
function startedModules(tree: Tree, entry: string): RootModule[] {
  const text = readText(tree, entry);
  const masked = maskSource(text);
  const calls = masked.matchAll(/\bNestFactory\s*\.\s*create\w*\s*(?:<[^()]*>\s*)?\(\s*(?:await\s+)?(\w+)/g);
  return [...calls].flatMap(([, name]) => [
    ...importedFrom(text, masked, name).flatMap(({ specifier, className }) =>
      filesOf(posix.dirname(entry), specifier).map((path) => ({ path, className })),
    ),
    { path: entry, className: name },
  ]);
}

/** Returns the import of a name; its class is unknown if it is a default export. */
function importedFrom(text: string, masked: string, name: string): { specifier: string; className?: string }[] {
  const statements = masked.matchAll(/^import\s([^'";]*?)from\s*['"](\s*)['"]/gm);
  return [...statements].flatMap(({ index, 0: statement, 1: clause, 2: { length } }) => {
    if (!new RegExp(`\\b${name}\\b`).test(clause)) return [];
    const [braces = ''] = /\{[^}]*\}/.exec(clause) ?? [];
    const [, className] = new RegExp(`(?:(\\w+)\\s+as\\s+)?\\b${name}\\b`).exec(braces) ?? [undefined];
    const end = index + statement.length - 1;
    const isNamed = new RegExp(`\\b${name}\\b`).test(braces);
    return [{ specifier: text.slice(end - length, end), className: isNamed ? (className ?? name) : undefined }];
  });
}

function filesOf(folder: string, specifier: string): string[] {
  if (!specifier.startsWith('.')) return [];
  const path = posix.join(folder, specifier.replace(/\.[cm]?[jt]s$/, ''));
  return [`${path}.ts`, `${path}.mts`, `${path}.cts`, posix.join(path, 'index.ts')];
}
