import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import ts from 'typescript';

/** A code block of a page. */
export interface Snippet {
  readonly page: string;
  /** The heading above it. */
  readonly section: string;
  /** Whether it precedes the first heading below the title. */
  readonly underTitle: boolean;
  /** The line number of its opening fence. */
  readonly line: number;
  /** The info string after the fence, such as `ts` or `sh`; `ts before` marks code for another library. */
  readonly language: string;
  readonly code: string;
}

/** A snippet as a module, with the imports it leaves out and an export of each declaration. */
export interface SnippetModule extends Snippet {
  readonly file: string;
  readonly source: string;
  readonly declared: readonly string[];
  /** The preceding snippets that it imports from. */
  readonly needs: readonly SnippetModule[];
}

const root = process.cwd();

/** Returns all code blocks of a page. */
export function snippetsOf(page: string): Snippet[] {
  const snippets: Snippet[] = [];
  let headings: string[] = [];
  let open: { line: number; language: string } | undefined;
  const lines = readFileSync(join(root, page), 'utf8').split('\n');
  for (const [i, text] of lines.entries()) {
    const [, marks, heading] = /^(#+) (.*)$/.exec(text) ?? [];
    if (!open && marks) headings = [...headings, heading];
    if (!text.startsWith('```')) continue;
    if (open) {
      const [section, underTitle] = [headings.at(-1) ?? '', headings.length < 2];
      snippets.push({ page, section, underTitle, ...open, code: lines.slice(open.line, i).join('\n') });
    }
    open = open ? undefined : { line: i + 1, language: text.slice(3) };
  }
  return snippets;
}

/**
 * Turns the snippets of a page into modules. `names` maps each importable name to its module. A snippet may also use
 * the declarations of preceding snippets of its section or under the page title. Bare class members are wrapped in a
 * controller.
 */
export function toModules(snippets: readonly Snippet[], names: ReadonlyMap<string, string>): SnippetModule[] {
  const modules: SnippetModule[] = [];
  for (const snippet of snippets) {
    const file = `test/${snippet.page.replace(/\W/g, '-')}-${snippet.line}.ts`;
    const isTopLevel =
      /^(@Controller|(export )?(abstract )?class |(async )?function |interface |type |import |const |new |await )/m.test(
        snippet.code,
      );
    const titled = fileImports(snippet.code, modules);
    const code = isTopLevel ? titled.code : `@Controller()\nclass Snippet {\n${snippet.code}\n}`;
    const declared = declaredIn(code);
    const before = modules.filter(({ section, underTitle }) => underTitle || section === snippet.section);
    const known = new Map(names);
    for (const other of before) for (const name of other.declared) known.set(name, importOf(other.file));
    const isOwn = (name: string) => declared.includes(name) || imported(code).has(name);
    const imports = [...known].filter(([name]) => new RegExp(`\\b${name}\\b`).test(code) && !isOwn(name));
    const source = [
      ...imports.map(([name, from]) => `import { ${name} } from '${from}';`),
      code,
      `export { ${declared.filter((name) => !new RegExp(`^export .*\\b${name}\\b`, 'm').test(code)).join(', ')} };`,
    ].join('\n');
    const needs = before.filter((other) => imports.some(([, from]) => from === importOf(other.file)));
    needs.push(...titled.needs.filter((other) => !needs.includes(other)));
    modules.push({ ...snippet, file, source, declared, needs });
  }
  return modules;
}

/**
 * Resolves the relative imports of a snippet. A snippet that starts with a comment such as `// src/app.module.ts` is a
 * file of an application, which later snippets of the page may import as `./app.module.js`. Other files are those that
 * the reader's application is expected to have.
 */
function fileImports(code: string, modules: readonly SnippetModule[]): { code: string; needs: SnippetModule[] } {
  const needs: SnippetModule[] = [];
  const resolved = code.replace(/(?<= from ')\.\/([\w.-]+)\.js(?=')/g, (_specifier, name: string) => {
    const file = modules.findLast((other) => other.code.startsWith(`// src/${name}.ts\n`));
    if (!file) return importOf('test/support/readme-names.ts');
    needs.push(file);
    return importOf(file.file);
  });
  return { code: resolved, needs };
}

/** Returns the specifier by which a module in `test` imports another one. */
export function importOf(file: string): string {
  return file.replace(/^test\/(.*)\.ts$/, './$1.js');
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

const { options: projectOptions } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config,
  ts.sys,
  root,
);

/** The settings of the project, except that an added import may be unused: its name may occur only in a comment. */
const options = { ...projectOptions, noUnusedLocals: false };

/** Returns the type errors of modules. */
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
  return modules.flatMap(({ page, file, line }) => {
    const source = program.getSourceFile(join(root, file));
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map(
      ({ messageText, start = 0 }) => {
        const at = source?.text.slice(start).split('\n', 1)[0];
        return `${page}, snippet in line ${line}, at \`${at}\`: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
      },
    );
  });
}

/** Returns the syntax errors of a snippet, without resolving its imports. */
export function syntaxErrors({ page, line, code }: Snippet): string[] {
  const { diagnostics = [] } = ts.transpileModule(code, { compilerOptions: options, reportDiagnostics: true });
  return diagnostics.map(({ messageText }) => `${page}:${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`);
}

export type Exports = Record<string, unknown>;

/** Runs a module, and checks its claims. `load` returns what it imports; `exports` receives what it declares. */
export async function runModule(
  module: SnippetModule,
  load: (name: string) => Promise<object>,
  exports: Exports,
  source: string,
): Promise<void> {
  const { outputText } = ts.transpileModule(withClaims(source), {
    compilerOptions: {
      ...options,
      esModuleInterop: true,
      module: ts.ModuleKind.CommonJS,
      moduleResolution: undefined,
      paths: undefined,
    },
  });
  const loaded = new Map<string, object>();
  for (const [, name] of outputText.matchAll(/\brequire\("(.*?)"\)/g)) {
    loaded.set(name, { ...(await load(name)), __esModule: true });
  }
  const claim = (text: string, actual: unknown, expected: unknown) => {
    expect({ [`${module.page}: ${text}`]: actual }).toMatchObject({ [`${module.page}: ${text}`]: expected });
  };
  const AsyncFunction = (async () => {}).constructor as new (
    ...parts: string[]
  ) => (...args: unknown[]) => Promise<void>;
  await new AsyncFunction('require', 'exports', 'claim', outputText)(
    (name: string) => loaded.get(name),
    exports,
    claim,
  );
}

/**
 * Adds a check for each claim: a comment after a statement that starts with its value, as in
 * `bucket.available; // 19, of 20` or `const left = await bucket.available(); // 19`. Text may follow the value after
 * punctuation.
 */
function withClaims(source: string): string {
  let claimed = source;
  for (const statement of parse(source).statements.toReversed()) {
    const [comment] = ts.getTrailingCommentRanges(source, statement.end) ?? [];
    const expected = comment && CLAIM.exec(source.slice(comment.pos, comment.end))?.[1];
    if (expected === undefined) continue;
    const quoted = JSON.stringify(statement.getText());
    const name = ts.isVariableStatement(statement) && statement.declarationList.declarations[0].name.getText();
    if (name)
      claimed = `${claimed.slice(0, statement.end)} claim(${quoted}, ${name}, ${expected});${claimed.slice(statement.end)}`;
    if (!ts.isExpressionStatement(statement)) continue;
    const call = `claim(${quoted}, ${statement.expression.getText()}, ${expected});`;
    claimed = claimed.slice(0, statement.getStart()) + call + claimed.slice(statement.end);
  }
  return claimed;
}

const CLAIM = /^\/\/ (-?\d[\d_]*(?:\.\d+)?|Infinity|true|false|'.*?'|\[.*\]|\{.*\})(?=$|[,;:.](?: |$))/;

/** Returns the names that the library exports, including types. */
export function exportsOf(index: string): string[] {
  return parse(readFileSync(join(root, index), 'utf8')).statements.flatMap((statement) => {
    const clause = ts.isExportDeclaration(statement) && statement.exportClause;
    return clause && ts.isNamedExports(clause) ? clause.elements.map(({ name }) => name.text) : [];
  });
}
