import { type CallExpression, type ClassDeclaration, type Decorator, type MethodDeclaration, Node } from 'ts-morph';
import { type Declared, DecoratorReader, decoratorOf } from './declared.js';
import { indentAt } from './edits.js';
import type { Findings } from './findings.js';
import type { Imports } from './imports.js';
import type { Usage } from './names.js';
import {
  type Entries,
  isResolved,
  listText,
  objectText,
  policyEntries,
  type Semantics,
  type Throttler,
} from './policy.js';
import { warnOfUnit } from './units.js';

interface Decorated {
  readonly call: CallExpression;
  readonly name: string;
}

const NONE: Declared = { overrides: new Map(), skips: new Map() };
const NO_EFFECT = 'had no effect here, and was removed:';

/**
 * Converts `@Throttle` and `@SkipThrottle`. Their fields fall back to those of the class and of the module, so each
 * target is written as the limits that apply to it.
 */
export class DecoratorWriter {
  private readonly reader: DecoratorReader;
  private readonly classes = new Map<ClassDeclaration, Decorated[]>();
  private readonly methods = new Map<MethodDeclaration, Decorated[]>();

  constructor(
    private readonly throttlers: readonly Throttler[],
    private readonly semantics: Semantics,
    private readonly findings: Findings,
    private readonly imports: Imports,
  ) {
    this.reader = new DecoratorReader(semantics, findings);
  }

  write(usages: readonly Usage[]): void {
    for (const { identifier, name } of usages) {
      if (name !== 'Throttle' && name !== 'SkipThrottle') continue;
      const call = identifier.getParent();
      if (Node.isExportSpecifier(call)) continue;
      if (!Node.isCallExpression(call))
        this.findings.block(identifier, 'decorators', `\`${name}\` is used without a call.`);
      else this.collect(call, name);
    }
    this.checkInheritance();
    for (const [node, own] of this.classes) this.writeClass(node, own);
    for (const [node, own] of this.methods) this.writeMethod(node, own);
  }

  private collect(call: CallExpression, name: string): void {
    const target = decoratorOf(call)?.getParent();
    if (Node.isClassDeclaration(target))
      this.classes.set(target, [...(this.classes.get(target) ?? []), { call, name }]);
    else if (Node.isMethodDeclaration(target)) {
      this.methods.set(target, [...(this.methods.get(target) ?? []), { call, name }]);
    } else this.writeLoose(call, name);
  }

  /** A call that is no decorator, such as an argument of `applyDecorators`: its target is not known. */
  private writeLoose(call: CallExpression, name: string): void {
    const declared = this.reader.read([{ call, name }]);
    const isSimple = this.throttlers.length === 1 && this.throttlers[0].name === 'default';
    if (name === 'SkipThrottle' && isSimple && declared.skips.get('default')) {
      this.imports.need(call, 'SkipRateLimit');
      this.findings.edits.replace(call, 'SkipRateLimit()');
      this.findings.converted('@SkipThrottle', call);
      return;
    }
    this.findings.block(
      call,
      'decorators',
      `\`${name}\` is not used as a decorator, so its target is not known: write it as \`RateLimit\`.`,
    );
  }

  /** What applies to a class: its decorators, or else those of its base classes, field by field. */
  private ofClass(node: ClassDeclaration | undefined): Declared {
    if (!node) return NONE;
    const own = this.classes.get(node);
    const base = this.ofClass(node.getBaseClass());
    return own ? merge(this.declared(own), base) : base;
  }

  private readonly known = new Map<readonly Decorated[], Declared>();

  private declared(own: readonly Decorated[]): Declared {
    const known = this.known.get(own) ?? this.reader.read(own);
    this.known.set(own, known);
    return known;
  }

  /** A decorator of a subclass applies to inherited methods there, and does not here, if they have their own. */
  private checkInheritance(): void {
    for (const [node, own] of this.classes) {
      const base = node.getBaseClass();
      const methods = base ? [...this.methods.keys()].filter((method) => method.getParent() === base) : [];
      if (methods.length > 0) {
        this.findings.block(
          own[0].call,
          'decorators',
          `The methods of the base class have decorators of their own, which replace that of the class here: decorate the class ${base?.getName()} or its methods.`,
        );
      }
    }
  }

  private writeClass(node: ClassDeclaration, own: readonly Decorated[]): void {
    const declared = this.ofClass(node);
    this.writeTarget(own, declared, this.live(declared), true, this.changes(declared));
  }

  private writeMethod(node: MethodDeclaration, own: readonly Decorated[]): void {
    const parent = node.getParent();
    const ofClass = this.ofClass(Node.isClassDeclaration(parent) ? parent : undefined);
    const declared = merge(this.declared(own), ofClass);
    const live = this.live(declared);
    const changes = this.changes(this.declared(own));
    const isSkippedAnyway = live.length === 0 && this.live(ofClass).length === 0;
    this.writeTarget(own, declared, live, false, changes && !isSkippedAnyway);
  }

  /** The throttlers that apply, with their fields. */
  private live({ overrides, skips }: Declared): Throttler[] {
    return this.throttlers
      .filter(({ name }) => !skips.get(name))
      .map((throttler) => {
        const override = overrides.get(throttler.name) ?? {};
        const defined = Object.fromEntries(Object.entries(override).filter(([, value]) => value !== undefined));
        return { ...throttler, ...defined };
      });
  }

  /** Whether decorators name a throttler of the module. */
  private changes({ overrides, skips }: Declared): boolean {
    return this.throttlers.some(({ name }) => overrides.has(name) || skips.has(name));
  }

  private writeTarget(
    own: readonly Decorated[],
    declared: Declared,
    live: Throttler[],
    isClass: boolean,
    changes: boolean,
  ): void {
    const [{ call }, ...others] = own;
    const decorator = decoratorOf(call) as Decorator;
    for (const each of own) this.findings.converted(`@${each.name}`, each.call);
    for (const other of others) this.findings.edits.removeLine(decoratorOf(other.call) as Decorator);
    if (!changes) {
      const text = own.map((each) => `\`@${each.call.getText().replace(/\s+/g, ' ')}\``).join(' and ');
      const reason = live.length === 0 ? 'the class is skipped.' : 'the module has no throttler of that name.';
      this.findings.check(parentLine(decorator), 'decorators', `${text} ${NO_EFFECT} ${reason}`);
      return this.findings.edits.removeLine(decorator);
    }
    if (live.length === 0) {
      this.imports.need(call, 'SkipRateLimit');
      return this.findings.edits.replace(call, 'SkipRateLimit()');
    }
    this.imports.need(call, 'RateLimit');
    for (const { ttl, name } of live) {
      if (declared.overrides.get(name)?.ttl) warnOfUnit(ttl, decorator, this.semantics, this.findings);
    }
    const text = this.policies(live, call, isClass);
    if (text !== undefined) this.findings.edits.replace(call, `RateLimit(${text})`);
  }

  private policies(live: readonly Throttler[], call: CallExpression, isClass: boolean): string | undefined {
    const indent = indentAt(call.getSourceFile(), call.getStart());
    const written: Entries[] = [];
    for (const throttler of live) {
      const policy = policyEntries(throttler, this.semantics, call);
      if ('error' in policy) {
        this.findings.block(call, 'decorators', policy.error[0].toUpperCase() + policy.error.slice(1));
        return undefined;
      }
      written.push(isClass ? [['perHandler', 'true'], ...policy] : policy);
    }
    if (live.some(isResolved)) {
      if (live.length > 1) {
        this.findings.block(
          call,
          'decorators',
          'A function as `limit` or `ttl` beside other throttlers: write a resolver for each.',
        );
        return undefined;
      }
      return `async (context) => (${objectText(written[0], indent)})`;
    }
    if (written.length === 1) return objectText(written[0], indent);
    return listText(
      written.map((entries) => objectText(entries, `${indent}  `, indent.length + 2)),
      indent,
    );
  }
}

/** The fields of `own`, and where they are undefined those of `base`. */
function merge(own: Declared, base: Declared): Declared {
  const overrides = new Map(base.overrides);
  for (const [name, override] of own.overrides) {
    const other = base.overrides.get(name);
    overrides.set(name, {
      limit: override.limit ?? other?.limit,
      ttl: override.ttl ?? other?.ttl,
      block: override.block ?? other?.block,
      key: override.key ?? other?.key,
    });
  }
  return { overrides, skips: new Map([...base.skips, ...own.skips]) };
}

/** Where a comment about a removed decorator goes: above the next decorator, or the member. */
function parentLine(decorator: Decorator): Node {
  const parent = decorator.getParentOrThrow();
  if (!Node.isClassDeclaration(parent) && !Node.isMethodDeclaration(parent)) return parent;
  const after = parent.getModifiers().filter((each) => each.getStart() > decorator.getStart());
  return after[0] ?? parent.getNameNode() ?? parent;
}
