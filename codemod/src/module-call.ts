import {
  type ArrowFunction,
  type CallExpression,
  type ClassDeclaration,
  type Expression,
  type FunctionExpression,
  type MethodDeclaration,
  Node,
  type SourceFile,
} from 'ts-morph';
import type { Findings } from './findings.js';
import type { Imports } from './imports.js';
import { type ModuleOptions, ModuleOptionsReader, propertiesOf } from './module-options.js';
import type { Usage } from './names.js';
import type { Semantics } from './policy.js';

type FunctionNode = ArrowFunction | FunctionExpression | MethodDeclaration;

/** Reads the one import of `ThrottlerModule` with options, and converts the others. */
export class ModuleReader {
  constructor(
    private readonly files: readonly SourceFile[],
    private readonly usages: readonly Usage[],
    private readonly semantics: Semantics,
    private readonly findings: Findings,
    private readonly imports: Imports,
  ) {}

  /** The call of `forRoot`, and its options if they can be read. */
  read(): { readonly call?: CallExpression; readonly options?: ModuleOptions } {
    const calls: CallExpression[] = [];
    for (const { identifier, name } of this.usages) {
      if (name !== 'ThrottlerModule') continue;
      const access = identifier.getParent();
      const call = access?.getParent();
      if (Node.isPropertyAccessExpression(access) && Node.isCallExpression(call)) calls.push(call);
      else if (Node.isArrayLiteralExpression(access)) {
        this.findings.edits.removeElement(identifier);
        this.findings.converted('ThrottlerModule in imports or exports', identifier);
      } else if (!Node.isExportSpecifier(access)) {
        this.findings.block(
          identifier,
          'limits-from-a-configuration',
          'Only `ThrottlerModule.forRoot` and `forRootAsync` are converted.',
        );
      }
    }
    if (calls.length > 1) {
      for (const call of calls) {
        this.findings.block(
          call,
          'limits-from-a-configuration',
          '`RateLimitModule` is global and is imported once: import `ThrottlerModule` once, or run the codemod on one application.',
        );
      }
    }
    const [call] = calls;
    return { call, options: call && this.readCall(call) };
  }

  private readCall(call: CallExpression): ModuleOptions | undefined {
    this.imports.need(call, 'RateLimitModule');
    const callee = call.getExpression();
    if (Node.isPropertyAccessExpression(callee)) this.findings.edits.replace(callee.getExpression(), 'RateLimitModule');
    const [argument] = call.getArguments();
    const reader = new ModuleOptionsReader(call, this.semantics, this.findings);
    if (callee.getText().endsWith('.forRoot') && Node.isExpression(argument)) {
      this.findings.converted('ThrottlerModule.forRoot', call);
      return reader.read(argument);
    }
    this.findings.converted('ThrottlerModule.forRootAsync', call);
    const options = this.asyncOptions(argument);
    if (options) return reader.read(options);
    this.findings.block(
      call,
      'limits-from-a-configuration',
      'The options are known only at run time: write `RateLimitModule.forRootAsync` with a factory that returns an object literal.',
    );
    return undefined;
  }

  /** The expression that a factory returns. */
  private asyncOptions(argument: Node | undefined): Expression | undefined {
    if (!Node.isObjectLiteralExpression(argument)) return undefined;
    const method = argument.getProperty('useFactory');
    if (Node.isMethodDeclaration(method)) return this.returned(method);
    const properties = propertiesOf(argument);
    const factory = properties?.get('useFactory');
    if (Node.isArrowFunction(factory) || Node.isFunctionExpression(factory)) return this.returned(factory);
    const type = properties?.get('useClass') ?? properties?.get('useExisting');
    const found = this.files.flatMap((file) => file.getClasses()).find((each) => each.getName() === type?.getText());
    return found && this.optionsOfClass(found);
  }

  private optionsOfClass(node: ClassDeclaration): Expression | undefined {
    const method = node.getInstanceMethod('createThrottlerOptions');
    if (!method) return undefined;
    const { edits } = this.findings;
    edits.replace(method.getNameNode(), 'createRateLimitOptions');
    const implemented = node.getImplements().find((each) => each.getText() === 'ThrottlerOptionsFactory');
    if (implemented) {
      const others = node.getImplements().filter((each) => each !== implemented);
      if (others.length > 0) {
        this.findings.block(implemented, 'limits-from-a-configuration', 'Remove `ThrottlerOptionsFactory` here.');
      } else {
        const start = node.getFullText().lastIndexOf('implements', implemented.getStart() - node.getPos());
        edits.replaceRange(node.getSourceFile(), node.getPos() + start, implemented.getEnd() + 1, '');
      }
    }
    return this.returned(method);
  }

  private returned(fn: FunctionNode): Expression | undefined {
    this.returnType(fn);
    const body = fn.getBody();
    if (Node.isExpression(body)) return body;
    const returns = body?.getDescendants().filter((node) => Node.isReturnStatement(node)) ?? [];
    const own = returns.filter((node) => node.getFirstAncestor((each) => Node.isFunctionLikeDeclaration(each)) === fn);
    return own.length === 1 ? own[0].getExpression() : undefined;
  }

  private returnType(fn: FunctionNode): void {
    const type = fn.getReturnTypeNode();
    for (const node of type ? [type, ...type.getDescendants()] : []) {
      if (!Node.isIdentifier(node) || node.getText() !== 'ThrottlerModuleOptions') continue;
      this.findings.edits.replace(node, 'RateLimitModuleOptions');
      const isType = /\btype ThrottlerModuleOptions\b/.test(node.getSourceFile().getFullText());
      this.imports.need(node, `${isType ? 'type ' : ''}RateLimitModuleOptions`);
    }
  }
}
