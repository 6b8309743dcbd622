import { type ImportDeclaration, Node, Project, type SourceFile } from 'ts-morph';
import { Edits } from './edits.js';
import { identifiersIn, RATE_LIMIT, REDIS_STORAGES, THROTTLER } from './names.js';

/** A guard whose members were all removed. */
const EMPTY_CLASS = /(extends RateLimitGuard) \{\s+\}/g;

/** The names that converted code needs, by file and module. */
export class Imports {
  private readonly needed = new Map<SourceFile, Map<string, string>>();

  /** Makes sure that the file of `node` imports a name, which may have `type` in front. */
  need(node: Node, name: string, from = RATE_LIMIT): void {
    const file = node.getSourceFile();
    this.needed.set(file, (this.needed.get(file) ?? new Map<string, string>()).set(name, from));
  }

  /** The names that a file declares or imports from elsewhere, although converted code needs them. */
  conflictsIn(file: SourceFile): string[] {
    const names = [...(this.needed.get(file) ?? [])];
    return names
      .map(([name, from]) => [plain(name), from])
      .filter(([name, from]) => isTaken(file, name, from))
      .map(([name]) => name);
  }

  get files(): SourceFile[] {
    return [...this.needed.keys()];
  }

  /** Returns the edited text of a file with the imports that it needs, and without those that it no longer uses. */
  complete(file: SourceFile, text: string): string {
    const before = usedNames(file);
    const project = new Project({ useInMemoryFileSystem: true });
    const edited = project.createSourceFile(file.getBaseName(), text.replace(EMPTY_CLASS, '$1 {}'));
    const missing = new Map(this.needed.get(file) ?? []);
    for (const declaration of edited.getImportDeclarations()) {
      const from = declaration.getModuleSpecifierValue();
      for (const specifier of declaration.getNamedImports()) {
        if (missing.get(specifier.getName()) === from) missing.delete(specifier.getName());
      }
    }
    const edits = new Edits();
    const byModule = new Map<string, string[]>();
    for (const [name, from] of missing) byModule.set(from, [...(byModule.get(from) ?? []), name]);
    writeImports(edited, edits, before, byModule);
    return edits.apply(edited);
  }
}

/** Edits the imports of a file: drops specifiers that are not used any more, and adds what `missing` has by module. */
function writeImports(
  file: SourceFile,
  edits: Edits,
  before: ReadonlySet<string>,
  missing: Map<string, string[]>,
): void {
  const used = usedNames(file);
  const isLeft = (name: string) => before.has(name) && !used.has(name);
  let place: ImportDeclaration | undefined;
  for (const declaration of file.getImportDeclarations()) {
    place = declaration;
    const from = declaration.getModuleSpecifierValue();
    const all = declaration.getNamedImports();
    const isReplaced = [THROTTLER, ...REDIS_STORAGES].includes(from);
    const isUnused = (local: string) => (isReplaced ? !used.has(local) : isLeft(local));
    const kept = all.filter((each) => !isUnused(each.getAliasNode()?.getText() ?? each.getName()));
    const added = declaration.isTypeOnly() ? undefined : missing.get(from);
    if (added) missing.delete(from);
    if (kept.length === all.length && !added) continue;
    const isEmpty = kept.length === 0 && !added && !declaration.getDefaultImport();
    const replacement = missing.get(RATE_LIMIT);
    if (isEmpty && from === THROTTLER && replacement && all.length > 0) {
      missing.delete(RATE_LIMIT);
      edits.replace(declaration, importText(declaration, replacement, RATE_LIMIT));
    } else if (isEmpty && all.length > 0) edits.removeLine(declaration);
    else if (all.length > 0) {
      edits.replace(
        declaration,
        importText(declaration, [...kept.map((each) => each.getText()), ...(added ?? [])], from),
      );
    } else if (added) missing.set(from, added);
  }
  for (const [from, names] of missing) addImport(file, edits, place, names, from);
}

function importText(declaration: ImportDeclaration, names: readonly string[], from: string): string {
  const quote = declaration.getModuleSpecifier().getText()[0];
  const semicolon = declaration.getText().endsWith(';') ? ';' : '';
  const isType = declaration.isTypeOnly() && from === declaration.getModuleSpecifierValue();
  const other = declaration.getDefaultImport()?.getText();
  const text = declaration.getText();
  const isMultiline = text.includes('\n');
  const all = from === declaration.getModuleSpecifierValue() ? names : sorted(names);
  const comma = /,\s*\}/.test(text) ? ',' : '';
  const list = isMultiline ? `{\n${all.map((name) => `  ${name}`).join(',\n')}${comma}\n}` : `{ ${all.join(', ')} }`;
  return `import ${isType ? 'type ' : ''}${other ? `${other}, ` : ''}${list} from ${quote}${from}${quote}${semicolon}`;
}

function addImport(
  file: SourceFile,
  edits: Edits,
  place: ImportDeclaration | undefined,
  names: readonly string[],
  from: string,
): void {
  if (!place) return edits.insert(file, 0, `import { ${sorted(names).join(', ')} } from '${from}';\n`);
  const quote = place.getModuleSpecifier().getText()[0];
  const semicolon = place.getText().endsWith(';') ? ';' : '';
  const text = `import { ${sorted(names).join(', ')} } from ${quote}${from}${quote}${semicolon}`;
  edits.insert(file, place.getEnd(), `\n${text}`);
}

function sorted(names: readonly string[]): string[] {
  return [...names].sort((a, b) => plain(a).localeCompare(plain(b)));
}

function plain(name: string): string {
  return name.replace(/^type /, '');
}

/** The names that a file uses outside of its imports. */
function usedNames(file: SourceFile): Set<string> {
  return new Set(identifiersIn(file).map((identifier) => identifier.getText()));
}

function isTaken(file: SourceFile, name: string, from: string): boolean {
  const imported = file.getImportDeclarations().some((declaration) => {
    const own = declaration.getModuleSpecifierValue();
    if (own === from || own === THROTTLER || REDIS_STORAGES.includes(own)) return false;
    const names = declaration.getNamedImports().map((each) => each.getAliasNode()?.getText() ?? each.getName());
    return names.includes(name) || declaration.getDefaultImport()?.getText() === name;
  });
  const declared = file.getStatements().some((statement) => {
    if (Node.isVariableStatement(statement)) return statement.getDeclarations().some((each) => each.getName() === name);
    return Node.hasName(statement) && statement.getName() === name;
  });
  return imported || declared;
}
