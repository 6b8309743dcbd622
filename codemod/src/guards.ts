import { type ClassDeclaration, type Identifier, Node, type SourceFile } from 'ts-morph';
import type { Findings } from './findings.js';
import { type GuardClass, GuardClassReader } from './guard-class.js';
import type { Imports } from './imports.js';
import { identifiersIn, importedNames, isReference, isTest, THROTTLER, type Usage } from './names.js';

/** Where a guard is bound. */
interface Binding {
  readonly identifier: Identifier;
  /** The name of the guard's class. */
  readonly guard: string;
  readonly place: 'global' | 'local' | 'other';
}

/** The throttler guards of the application: its classes, and where they are bound. */
export interface Guards {
  readonly classes: readonly GuardClass[];
  /** Names of the classes that are bound. */
  readonly bound: ReadonlySet<string>;
}

const BASE = 'ThrottlerGuard';

/** Reads the guards, and converts them where they are. */
export class GuardsReader {
  private readonly classes = new Map<string, GuardClass>();

  constructor(
    private readonly files: readonly SourceFile[],
    private readonly usages: readonly Usage[],
    private readonly findings: Findings,
    private readonly imports: Imports,
  ) {}

  read(): Guards {
    this.readClasses();
    const bindings = this.bindings();
    for (const { identifier } of this.usages.filter(({ name }) => name === BASE)) this.convert(identifier);
    this.checkTwice(bindings);
    const bound = new Set(bindings.map(({ guard }) => guard));
    for (const { node, name } of this.classes.values()) {
      if (!bound.has(name) && !this.isExtended(name)) {
        this.findings.check(
          node,
          'guards-of-your-own',
          `${name} is not bound in this project; options of the module do not follow it.`,
        );
      }
    }
    return { classes: [...this.classes.values()], bound };
  }

  /** Subclasses of the guard, and their subclasses. */
  private readClasses(): void {
    const all = this.files.flatMap((file) => file.getClasses());
    for (let found = true; found; ) {
      found = false;
      for (const node of all) {
        const base = this.baseOf(node);
        if (!base || this.classes.has(nameOf(node))) continue;
        this.classes.set(nameOf(node), new GuardClassReader(node, base, this.findings, this.imports).read());
        found = true;
      }
    }
  }

  private baseOf(node: ClassDeclaration): string | undefined {
    const base = node.getExtends()?.getExpression();
    if (!Node.isIdentifier(base) || !node.getName()) return undefined;
    const imported = importedNames(node.getSourceFile(), [THROTTLER]).get(base.getText());
    if (imported === BASE) return BASE;
    return this.classes.has(base.getText()) ? base.getText() : undefined;
  }

  private isReadClass(node: Node | undefined): boolean {
    return Node.isClassDeclaration(node) && this.classes.get(nameOf(node))?.node === node;
  }

  private isExtended(name: string): boolean {
    return [...this.classes.values()].some(({ base }) => base === name);
  }

  /** All places where a guard is bound, or may be. */
  private bindings(): Binding[] {
    const own = [...this.classes.keys()];
    const base = this.usages.filter(({ name }) => name === BASE).map(({ identifier }) => identifier);
    const derived = this.files
      .filter((file) => own.some((name) => file.getFullText().includes(name)))
      .flatMap((file) => identifiersIn(file).filter((each) => own.includes(each.getText()) && isReference(each)));
    return [...base, ...derived].flatMap((identifier) => {
      const place = placeOf(identifier);
      const guard = base.includes(identifier) ? BASE : identifier.getText();
      return place && !isTest(identifier.getSourceFile()) ? [{ identifier, guard, place }] : [];
    });
  }

  private convert(identifier: Identifier): void {
    const { findings } = this;
    const parent = identifier.getParent();
    if (Node.isNewExpression(parent)) {
      return findings.block(
        identifier,
        'guards',
        'Nest creates `RateLimitGuard`: bind the class, or `app.get(RateLimitGuard)`.',
      );
    }
    if (Node.isExportSpecifier(parent)) return;
    if (Node.isExpressionWithTypeArguments(parent) && !this.isReadClass(parent.getParent()?.getParent())) {
      return findings.block(
        identifier,
        'guards-of-your-own',
        'Only class declarations with a name are converted: declare this guard as one.',
      );
    }
    if (Node.isTypeReference(parent)) {
      if (identifier.getAncestors().some((node) => Node.isClassDeclaration(node) && this.classes.has(nameOf(node))))
        return;
    }
    this.imports.need(identifier, 'RateLimitGuard');
    const assignment = identifier.getParent();
    if (Node.isPropertyAssignment(assignment) && assignment.getName() === 'useClass' && isGlobal(assignment)) {
      findings.edits.replace(assignment, 'useExisting: RateLimitGuard');
      findings.converted('APP_GUARD', assignment);
      return;
    }
    findings.edits.replace(identifier, 'RateLimitGuard');
    if (placeOf(identifier)) findings.converted('bound guard', identifier);
  }

  /** Throttler counts a request once for each of its guards. */
  private checkTwice(bindings: readonly Binding[]): void {
    const global = bindings.filter(({ place }) => place === 'global');
    const local = bindings.filter(({ place }) => place === 'local');
    const reason =
      'Requests counted twice, for this guard and another one, so the limit was effectively half as high. They count once now: halve `maxRequest` to keep it.';
    for (const { identifier } of global.slice(1)) this.findings.check(identifier, 'guards', reason);
    for (const { identifier } of local) {
      const method = identifier.getFirstAncestor((node) => Node.isMethodDeclaration(node));
      const owner = identifier.getFirstAncestor((node) => Node.isClassDeclaration(node));
      const isOnBoth =
        method && local.some((other) => isOnClass(other.identifier) && classOf(other.identifier) === owner);
      if (global.length > 0 || isOnBoth) this.findings.check(identifier, 'guards', reason);
    }
  }
}

function classOf(node: Node): Node | undefined {
  return node.getFirstAncestor((ancestor) => Node.isClassDeclaration(ancestor));
}

function isOnClass(node: Node): boolean {
  return !node.getFirstAncestor((ancestor) => Node.isMethodDeclaration(ancestor));
}

/** Whether a property belongs to a provider of `APP_GUARD`. */
function isGlobal(property: Node): boolean {
  return isAppGuard(property.getParent());
}

/** Whether an object literal is a provider of `APP_GUARD`. */
function isAppGuard(node: Node | undefined): boolean {
  const provide = Node.isObjectLiteralExpression(node) ? node.getProperty('provide') : undefined;
  return Node.isPropertyAssignment(provide) && provide.getInitializer()?.getText() === 'APP_GUARD';
}

/** Where a reference to a guard binds it; `undefined` if it does not. */
function placeOf(identifier: Identifier): Binding['place'] | undefined {
  const parent = identifier.getParent();
  if (Node.isExpressionWithTypeArguments(parent) || Node.isClassDeclaration(parent) || Node.isExportSpecifier(parent)) {
    return undefined;
  }
  if (Node.isTypeReference(parent) || Node.isNewExpression(parent)) return undefined;
  if (Node.isPropertyAccessExpression(parent)) return undefined;
  for (const node of identifier.getAncestors()) {
    if (isAppGuard(node)) return 'global';
    if (Node.isCallExpression(node)) {
      const callee = node.getExpression().getText();
      if (callee === 'UseGuards') return 'local';
      if (callee.endsWith('.useGlobalGuards')) return 'global';
      if (callee === 'Module') return undefined; // a provider or an export
    }
  }
  return Node.isArrayLiteralExpression(parent) || Node.isCallExpression(parent) ? 'other' : undefined;
}

function nameOf(node: ClassDeclaration): string {
  return node.getName() ?? '';
}
