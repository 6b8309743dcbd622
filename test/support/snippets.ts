import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

/** A block of TypeScript in a page. */
export interface Snippet {
  /** The heading that it stands under. */
  readonly section: string;
  /** The page's line that it begins in. */
  readonly line: number;
  readonly code: string;
}

/** A snippet made whole: what it does not import itself is imported, and what it declares is exported. */
export interface SnippetModule extends Snippet {
  readonly file: string;
  readonly source: string;
  readonly declared: readonly string[];
}

const root = process.cwd();

/** All blocks of `language` in a page. */
export function snippetsOf(page: string, language: string): Snippet[] {
  const snippets: Snippet[] = [];
  let section = '';
  let start: number | undefined;
  const lines = page.split('\n');
  for (const [i, line] of lines.entries()) {
    if (start === undefined && line.startsWith('#')) section = line.replace(/^#+ /, '');
    if (start === undefined && line === `\`\`\`${language}`) start = i + 1;
    else if (start !== undefined && line === '```') {
      snippets.push({ section, line: start + 1, code: lines.slice(start, i).join('\n') });
      start = undefined;
    }
  }
  return snippets;
}

/**
 * Makes modules of snippets. `names` tells which names may be imported from which module. A snippet may also use what
 * one before it in its section declares. Members of a class get a controller around them.
 */
export function toModules(snippets: readonly Snippet[], names: ReadonlyMap<string, string>): SnippetModule[] {
  const modules: SnippetModule[] = [];
  for (const snippet of snippets) {
    const file = `test/readme-${snippet.line}.ts`;
    const isWhole = /^(@Controller|(export )?(abstract )?class |import |const |new |await )/m.test(snippet.code);
    const code = isWhole ? snippet.code : `@Controller()\nclass Snippet {\n${snippet.code}\n}`;
    const declared = declaredIn(code);
    const known = new Map(names);
    for (const other of modules) {
      if (other.section === snippet.section) for (const name of other.declared) known.set(name, `./${other.file}`);
    }
    const imports = [...known].filter(([name]) => new RegExp(`\\b${name}\\b`).test(code) && !imported(code).has(name));
    const source = [
      ...imports
        .filter(([name]) => !declared.includes(name))
        .map(([name, from]) => `import { ${name} } from '${from.replace('./test/', './').replace(/\.ts$/, '.js')}';`),
      code,
      `export { ${declared.join(', ')} };`,
    ].join('\n');
    modules.push({ ...snippet, file, source, declared });
  }
  return modules;
}

function parse(code: string): ts.SourceFile {
  return ts.createSourceFile('snippet.ts', code, ts.ScriptTarget.Latest, true);
}

function declaredIn(code: string): string[] {
  return parse(code).statements.flatMap((statement) => {
    if (ts.isClassDeclaration(statement) || ts.isFunctionDeclaration(statement)) return statement.name?.text ?? [];
    if (!ts.isVariableStatement(statement)) return [];
    return statement.declarationList.declarations.map(({ name }) => name.getText());
  });
}

function imported(code: string): Set<string> {
  const names = parse(code).statements.flatMap((statement) => {
    const bindings = ts.isImportDeclaration(statement) && statement.importClause?.namedBindings;
    return bindings && ts.isNamedImports(bindings) ? bindings.elements.map(({ name }) => name.text) : [];
  });
  return new Set(names);
}

const { options } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config,
  ts.sys,
  root,
);

/** What the compiler has to say about modules, by the project's own settings. */
export function typeErrors(modules: readonly SnippetModule[]): string[] {
  const sources = new Map(modules.map(({ file, source }) => [join(root, file), source]));
  const host = ts.createCompilerHost(options, true);
  const read = host.readFile;
  host.readFile = (file) => sources.get(file) ?? read(file);
  host.fileExists = (file) => sources.has(file) || existsSync(file);
  host.getSourceFile = (file, languageVersion) => {
    const text = host.readFile(file);
    return text === undefined ? undefined : ts.createSourceFile(file, text, languageVersion, true);
  };
  const program = ts.createProgram([...sources.keys()], options, host);
  return modules.flatMap(({ file, line }) => {
    const source = program.getSourceFile(join(root, file));
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map(
      ({ messageText, start = 0 }) => {
        const at = source?.text.slice(start).split('\n', 1)[0];
        return `snippet in line ${line}, at \`${at}\`: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
      },
    );
  });
}

export type Exports = Record<string, unknown>;

/** Runs a module; `load` gives what it imports. */
export async function runModule({ source }: SnippetModule, load: (name: string) => unknown): Promise<Exports> {
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { ...options, module: ts.ModuleKind.CommonJS, moduleResolution: undefined, paths: undefined },
  });
  const AsyncFunction = (async () => {}).constructor as new (
    ...parts: string[]
  ) => (...args: unknown[]) => Promise<void>;
  const exports: Exports = {};
  await new AsyncFunction('require', 'exports', outputText)(load, exports);
  return exports;
}

/** The public names of the library, types too. */
export function exportsOf(index: string): string[] {
  return parse(readFileSync(join(root, index), 'utf8')).statements.flatMap((statement) => {
    const clause = ts.isExportDeclaration(statement) && statement.exportClause;
    return clause && ts.isNamedExports(clause) ? clause.elements.map(({ name }) => name.text) : [];
  });
}
