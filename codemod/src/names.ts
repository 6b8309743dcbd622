import { type Expression, type Identifier, Node, type SourceFile } from 'ts-morph';

export const THROTTLER = '@nestjs/throttler';
export const RATE_LIMIT = 'nest-rate-limit';
export const REDIS_STORAGES = ['@nest-lab/throttler-storage-redis', 'nestjs-throttler-storage-redis'];

/** An identifier that refers to an export of @nestjs/throttler. */
export interface Usage {
  readonly identifier: Identifier;
  /** The name that @nestjs/throttler exports it under. */
  readonly name: string;
}

/** The local names of what a file imports from a module, with their exported names. */
export function importedNames(file: SourceFile, modules: readonly string[]): Map<string, string> {
  const names = new Map<string, string>();
  for (const declaration of file.getImportDeclarations()) {
    if (!modules.includes(declaration.getModuleSpecifierValue())) continue;
    for (const specifier of declaration.getNamedImports()) {
      names.set(specifier.getAliasNode()?.getText() ?? specifier.getName(), specifier.getName());
    }
  }
  return names;
}

/** The uses of @nestjs/throttler in a file, without its imports. */
export function usagesIn(file: SourceFile): Usage[] {
  const names = importedNames(file, [THROTTLER]);
  if (names.size === 0) return [];
  return identifiersIn(file).flatMap((identifier) => {
    const name = names.get(identifier.getText());
    return name === undefined || !isReference(identifier) ? [] : [{ identifier, name }];
  });
}

/** All identifiers of a file outside of its imports. */
export function identifiersIn(file: SourceFile): Identifier[] {
  const found: Identifier[] = [];
  for (const statement of file.getStatements()) {
    if (Node.isImportDeclaration(statement)) continue;
    statement.forEachDescendant((node) => {
      if (Node.isIdentifier(node)) found.push(node);
    });
  }
  return found;
}

/** Whether an identifier refers to a declaration, and is not the name of a property. */
export function isReference(identifier: Identifier): boolean {
  const parent = identifier.getParent();
  if (Node.isPropertyAccessExpression(parent)) return parent.getNameNode() !== identifier;
  if (Node.isPropertyAssignment(parent) || Node.isMethodDeclaration(parent) || Node.isPropertyDeclaration(parent)) {
    return parent.getNameNode() !== identifier;
  }
  return true;
}

/** The expression without parentheses, type assertions and `await`. */
export function unwrap(node: Expression): Expression {
  if (Node.isParenthesizedExpression(node) || Node.isAsExpression(node) || Node.isSatisfiesExpression(node)) {
    return unwrap(node.getExpression());
  }
  return Node.isAwaitExpression(node) || Node.isNonNullExpression(node) ? unwrap(node.getExpression()) : node;
}

/** Whether a file contains tests. */
export function isTest(file: SourceFile): boolean {
  return /[.-](spec|test)\.[cm]?tsx?$|\/(test|tests|__tests__)\//.test(file.getFilePath());
}

/** A string literal with the quotes of the file's imports. */
export function quoted(text: string, node: Node): string {
  const [first] = node.getSourceFile().getImportDeclarations();
  const quote = first?.getModuleSpecifier().getText()[0] === '"' ? '"' : "'";
  return `${quote}${text}${quote}`;
}
