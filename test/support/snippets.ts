import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import ts from 'typescript';

/** A block of code in a page. */
export interface Snippet {
  readonly page: string;
  /** The heading that it stands under. */
  readonly section: string;
  /** Whether it stands before the first heading below the title. */
  readonly underTitle: boolean;
  /** The page's line that it begins in. */
  readonly line: number;
  /** What stands behind the fence: `ts`, `sh`; `ts before` is code of somebody else. */
  readonly language: string;
  readonly code: string;
}

/** A snippet made whole: what it does not import itself is imported, and what it declares is exported. */
export interface SnippetModule extends Snippet {
  readonly file: string;
  readonly source: string;
  readonly declared: readonly string[];
  /** The snippets before it that it imports from. */
  readonly needs: readonly SnippetModule[];
}

const root = process.cwd();

/** All blocks of a page. */
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
 * Makes modules of a page's snippets. `names` tells which names may be imported from which module. A snippet may also
 * use what one before it declares in its section, or under the page's title. Members of a class get a controller around
 * them.
 */
export function toModules(snippets: readonly Snippet[], names: ReadonlyMap<string, string>): SnippetModule[] {
  const modules: SnippetModule[] = [];
  for (const snippet of snippets) {
    const file = `test/${snippet.page.replace(/\W/g, '-')}-${snippet.line}.ts`;
    const isWhole =
      /^(@Controller|(export )?(abstract )?class |(async )?function |interface |type |import |const |new |await )/m.test(
        snippet.code,
      );
    const code = isWhole ? snippet.code : `@Controller()\nclass Snippet {\n${snippet.code}\n}`;
    const declared = declaredIn(code);
    const before = modules.filter(({ section, underTitle }) => underTitle || section === snippet.section);
    const known = new Map(names);
    for (const other of before) for (const name of other.declared) known.set(name, importOf(other.file));
    const isOwn = (name: string) => declared.includes(name) || imported(code).has(name);
    const imports = [...known].filter(([name]) => new RegExp(`\\b${name}\\b`).test(code) && !isOwn(name));
    const source = [
      ...imports.map(([name, from]) => `import { ${name} } from '${from}';`),
      code,
      `export { ${declared.join(', ')} };`,
    ].join('\n');
    const needs = before.filter((other) => imports.some(([, from]) => from === importOf(other.file)));
    modules.push({ ...snippet, file, source, declared, needs });
  }
  return modules;
}

/** How a module of `test` imports another one. */
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

/** The project's own settings; but an import that was added may be needless, where a comment names what it brings. */
const options = { ...projectOptions, noUnusedLocals: false };

/** What the compiler has to say about modules. */
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

/** What the compiler has to say of a snippet without looking at what it uses. */
export function syntaxErrors({ page, line, code }: Snippet): string[] {
  const { diagnostics = [] } = ts.transpileModule(code, { compilerOptions: options, reportDiagnostics: true });
  return diagnostics.map(({ messageText }) => `${page}:${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`);
}

export type Exports = Record<string, unknown>;

/** Runs a module; `load` gives what it imports, and `exports` gets what it declares. Its comments are checked. */
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
 * A comment behind a statement that begins with a value, and says no more or goes on after a comma, is a claim:
 * `bucket.available; // 19, of 20`. So it is with `const left = await bucket.available(); // 19`.
 */
function withClaims(source: string): string {
  let claimed = source;
  for (const statement of parse(source).statements.toReversed()) {
    const [comment] = ts.getTrailingCommentRanges(source, statement.end) ?? [];
    const said = comment && CLAIM.exec(source.slice(comment.pos, comment.end))?.[1];
    if (said === undefined) continue;
    const quoted = JSON.stringify(statement.getText());
    const name = ts.isVariableStatement(statement) && statement.declarationList.declarations[0].name.getText();
    if (name)
      claimed = `${claimed.slice(0, statement.end)} claim(${quoted}, ${name}, ${said});${claimed.slice(statement.end)}`;
    if (!ts.isExpressionStatement(statement)) continue;
    const call = `claim(${quoted}, ${statement.expression.getText()}, ${said});`;
    claimed = claimed.slice(0, statement.getStart()) + call + claimed.slice(statement.end);
  }
  return claimed;
}

const CLAIM = /^\/\/ (-?\d[\d_]*(?:\.\d+)?|Infinity|true|false|'.*?'|\[.*\]|\{.*\})(?=$|[,;:.](?: |$))/;

/** The public names of the library, types too. */
export function exportsOf(index: string): string[] {
  return parse(readFileSync(join(root, index), 'utf8')).statements.flatMap((statement) => {
    const clause = ts.isExportDeclaration(statement) && statement.exportClause;
    return clause && ts.isNamedExports(clause) ? clause.elements.map(({ name }) => name.text) : [];
  });
}
