import { type ClassDeclaration, type MethodDeclaration, Node, type PropertyDeclaration } from 'ts-morph';
import type { Findings } from './findings.js';
import { becomeStatic, declareRequest, dependsOnInstance, dropOverride, isDropped } from './guard-method.js';
import type { Imports } from './imports.js';
import { type Usage, usagesIn } from './names.js';
import { returnedExpression, type Tracker, trackerOf } from './tracker.js';

/** A subclass of `ThrottlerGuard`, and what it means for the options of the module. */
export interface GuardClass {
  readonly node: ClassDeclaration;
  readonly name: string;
  readonly base: string;
  key?: Tracker;
  /** Source of `message`. */
  message?: string;
  hasOnLimited?: boolean;
  /** Whether it reads requests of other transports than HTTP. */
  unwraps?: boolean;
}

/** Members of `ThrottlerGuard` that decide about limits in ways that have no counterpart. */
const UNKNOWN: Readonly<Record<string, string>> = {
  generateKey: 'write its parts as `key`, `name` and `perHandler`.',
  handleRequest: 'write what it changes as `key`, `cost`, `skip` or a resolver.',
  onModuleInit: 'move what it sets to the options of the module.',
  toNumber: 'convert the options of the module by `Number()`.',
};

/** Reads a subclass of a throttler guard, and converts it to one of `RateLimitGuard`. */
export class GuardClassReader {
  private readonly guard: GuardClass;

  constructor(
    private readonly node: ClassDeclaration,
    base: string,
    private readonly findings: Findings,
    private readonly imports: Imports,
  ) {
    this.guard = { node, name: node.getName() ?? '', base };
  }

  read(): GuardClass {
    const { node, findings } = this;
    findings.converted('subclass of ThrottlerGuard', node);
    for (const each of node.getConstructors()) {
      findings.block(
        each,
        'guards-of-your-own',
        '`RateLimitGuard` has other constructor parameters: inject by property.',
      );
    }
    for (const member of node.getInstanceMembers()) {
      if (Node.isMethodDeclaration(member)) this.method(member);
      else if (Node.isPropertyDeclaration(member)) this.property(member);
    }
    this.checkTypes();
    return this.guard;
  }

  private method(method: MethodDeclaration): void {
    const name = method.getName();
    if (name === 'getTracker') this.tracker(method);
    else if (name === 'shouldSkip') this.shouldSkip(method);
    else if (name === 'canActivate') this.canActivate(method);
    else if (name === 'getRequestResponse') this.getRequestResponse(method);
    else if (name === 'throwThrottlingException') this.exception(method);
    else if (name === 'getErrorMessage') this.errorMessage(method);
    else if (name in UNKNOWN) {
      this.findings.block(method, 'guards-of-your-own', `\`${name}\` is not converted: ${UNKNOWN[name]}`);
    } else this.keep(method);
  }

  private tracker(method: MethodDeclaration): void {
    const tracker = trackerOf(method);
    this.guard.key = tracker;
    if (tracker.kind !== 'custom') return this.findings.edits.removeLine(method);
    const [request, second] = method.getParameters();
    const body = method.getBody();
    if (!request || !body) return;
    const supers = /super\s*\.\s*getTracker\(/;
    for (const call of method.getDescendants()) {
      if (Node.isCallExpression(call) && supers.test(`${call.getExpression().getText()}(`)) {
        this.imports.need(this.node, 'addressKey');
        this.findings.edits.replace(
          call,
          `addressKey(${second?.getName() ?? 'context'}.switchToHttp().getRequest().ip)`,
        );
      }
    }
    if (dependsOnInstance(this.node, method, supers)) {
      this.findings.block(
        method,
        'guards-of-your-own',
        '`getTracker` uses `this`: write it as `key`, a function of the context.',
      );
      return;
    }
    becomeStatic(this.findings.edits, method, 'key', second?.getName());
    this.imports.need(this.node, 'ExecutionContext', '@nestjs/common');
    declareRequest(this.findings.edits, method);
    if (tracker.shares) this.findings.check(method, 'guards-of-your-own', SHARED);
  }

  private shouldSkip(method: MethodDeclaration): void {
    for (const call of method.getDescendants()) {
      if (!Node.isCallExpression(call) || call.getExpression().getText() !== 'super.shouldSkip') continue;
      this.findings.edits.replace(awaited(call), method.isAsync() ? 'false' : 'Promise.resolve(false)');
    }
    if (this.node.getInstanceMethod('canActivate')) {
      this.findings.block(
        method,
        'guards-of-your-own',
        '`shouldSkip` is not called by `RateLimitGuard`: call it in `canActivate`.',
      );
    }
    this.keep(method, /^super\.shouldSkip$/);
    this.imports.need(this.node, 'ExecutionContext', '@nestjs/common');
    const file = method.getSourceFile();
    const indent = ' '.repeat(method.getStart() - method.getStartLinePos());
    const semicolon = /;\s*$/m.test(method.getText()) ? ';' : '';
    this.findings.edits.insert(
      file,
      method.getEnd(),
      `\n\n${indent}override async canActivate(context: ExecutionContext): Promise<boolean> {\n` +
        `${indent}  return (await this.shouldSkip(context)) || super.canActivate(context)${semicolon}\n${indent}}`,
    );
  }

  private canActivate(method: MethodDeclaration): void {
    if (dependsOnInstance(this.node, method, /^super\.canActivate$/)) return this.blockInstance(method);
    if (method.isAsync() || !/Promise/.test(method.getReturnTypeNode()?.getText() ?? '')) return;
    for (const call of method.getDescendants()) {
      if (Node.isCallExpression(call) && call.getExpression().getText() === 'super.canActivate') {
        this.findings.edits.replace(call, `Promise.resolve(${call.getText()})`);
      }
    }
  }

  private getRequestResponse(method: MethodDeclaration): void {
    const text = method.getText();
    if (/GqlExecutionContext|switchToWs|getType/.test(text)) this.guard.unwraps = true;
    else if (!/switchToHttp|getArg/.test(text)) {
      this.findings.block(
        method,
        'guards-of-your-own',
        '`RateLimitGuard` reads requests of HTTP, GraphQL and gateways itself: delete `getRequestResponse` if it does no more.',
      );
      return;
    }
    const others = this.node.getInstanceMembers().filter((member) => member !== method && !isDropped(member));
    if (others.some((member) => member.getText().includes('this.getRequestResponse'))) this.keep(method);
    else this.findings.edits.removeLine(method);
  }

  private exception(method: MethodDeclaration): void {
    const [statement, ...more] = method.getStatements();
    const thrown = Node.isThrowStatement(statement) && more.length === 0 ? statement.getExpression() : undefined;
    const isOwn = Node.isNewExpression(thrown) && thrown.getExpression().getText() === 'ThrottlerException';
    const argument = isOwn ? thrown.getArguments()[0] : undefined;
    if (isOwn && (!argument || Node.isStringLiteral(argument))) {
      this.guard.message = argument?.getText();
      return this.findings.edits.removeLine(method);
    }
    const detail = method.getParameters()[1];
    const isUsed = detail !== undefined && new RegExp(`\\b${detail.getName()}\\b`).test(method.getBodyText() ?? '');
    if (isUsed || dependsOnInstance(this.node, method) || /ThrottlerException/.test(method.getBodyText() ?? '')) {
      this.findings.check(
        method,
        'guards-of-your-own',
        '`throwThrottlingException` is not called: write it as `message` or `onLimited` of the module.',
      );
      return this.keep(method);
    }
    this.guard.hasOnLimited = true;
    becomeStatic(this.findings.edits, method, 'onLimited', method.getParameters()[0]?.getName());
    this.imports.need(this.node, 'ExecutionContext', '@nestjs/common');
  }

  private errorMessage(method: MethodDeclaration): void {
    const returned = returnedExpression(method);
    if (Node.isStringLiteral(returned)) {
      this.guard.message = returned.getText();
      return this.findings.edits.removeLine(method);
    }
    this.findings.check(
      method,
      'guards-of-your-own',
      '`getErrorMessage` is not called: write it as `message` of the module.',
    );
    this.keep(method);
  }

  private property(property: PropertyDeclaration): void {
    const initializer = property.getInitializer();
    if (property.getName() !== 'errorMessage') {
      if (property.getName() === 'headerPrefix') {
        this.findings.check(
          property,
          'option-by-option',
          '`headerPrefix` has no counterpart: see `headers` of the module.',
        );
      }
      return dropOverride(this.findings.edits, property);
    }
    if (Node.isStringLiteral(initializer)) {
      this.guard.message = initializer.getText();
      return this.findings.edits.removeLine(property);
    }
    this.guard.message = `${this.guard.name}.message`;
    const end = property.getNameNode().getEnd();
    this.findings.edits.replaceRange(property.getSourceFile(), property.getStart(), end, 'static readonly message');
  }

  /** Keeps a method that `RateLimitGuard` does not have. */
  private keep(method: MethodDeclaration, allowed?: RegExp): void {
    if (dependsOnInstance(this.node, method, allowed)) return this.blockInstance(method);
    dropOverride(this.findings.edits, method);
  }

  private blockInstance(method: MethodDeclaration): void {
    this.findings.block(
      method,
      'guards-of-your-own',
      `\`${method.getName()}\` uses members of \`ThrottlerGuard\` that \`RateLimitGuard\` does not have.`,
    );
  }

  /** Types of the base class, such as `ThrottlerGuard['getTracker']`, are gone. */
  private checkTypes(): void {
    for (const { identifier, name } of usagesIn(this.node.getSourceFile()) as Usage[]) {
      const isType = Node.isTypeReference(identifier.getParent());
      if (!isType || name !== 'ThrottlerGuard') continue;
      const isRemoved = identifier
        .getAncestors()
        .some((node) => Node.isCallExpression(node) && /^super\./.test(node.getText()));
      if (!isRemoved)
        this.findings.block(identifier, 'guards-of-your-own', '`RateLimitGuard` does not have these members.');
    }
  }
}

export const SHARED =
  'Requests without this value share one bucket, or fail if it is empty. Use `byUser(…, byIp())` or `byHeader(…, byIp())` to count them by address.';

function awaited(node: Node): Node {
  const parent = node.getParent();
  return Node.isAwaitExpression(parent) ? parent : node;
}
