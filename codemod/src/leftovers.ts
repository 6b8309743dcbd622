import { type Identifier, Node, type SourceFile, SyntaxKind } from 'ts-morph';
import type { Findings, Section } from './findings.js';
import type { Imports } from './imports.js';
import { isTest, THROTTLER, type Usage } from './names.js';
import { helperOf, productText, textOf } from './value.js';

const HANDLED = ['Throttle', 'SkipThrottle', 'ThrottlerModule', 'ThrottlerGuard'];

/** Why other exports of @nestjs/throttler cannot be converted, and whether the application needs them to start. */
const REASONS: Readonly<Record<string, readonly [reason: string, section: Section, blocking: boolean]>> = {
  InjectThrottlerStorage: ['The storage is not injectable any more: use `BucketService`.', 'storage', true],
  getStorageToken: ['The storage is not injectable any more: use `BucketService`.', 'storage', true],
  InjectThrottlerOptions: ['The options are not injectable any more.', 'option-by-option', true],
  getOptionsToken: ['The options are not injectable any more.', 'option-by-option', true],
  ThrottlerStorage: ['A storage of your own becomes a `RateLimitStore`.', 'storage', true],
  ThrottlerStorageService: ['The storage in memory becomes a `MemoryStore`.', 'storage', true],
  normalizeIp: ['Use `addressKey` instead.', 'option-by-option', false],
};

/** Converts the other uses of @nestjs/throttler, and notes those that cannot be converted. */
export function convertOthers(
  usages: readonly Usage[],
  isConverted: (node: Node) => boolean,
  findings: Findings,
  imports: Imports,
): void {
  for (const { identifier, name } of usages) {
    const parent = identifier.getParent();
    if (Node.isExportSpecifier(parent)) {
      findings.block(
        identifier,
        'option-by-option',
        '@nestjs/throttler is exported again: export the counterpart of nest-rate-limit.',
      );
    } else if (HANDLED.includes(name) || isConverted(identifier)) continue;
    else if (name === 'ThrottlerException') exception(identifier, findings, imports);
    else if (Node.isCallExpression(parent) && helperOf(parent)) helper(identifier, isConverted, findings);
    else leftover(identifier, name, findings);
  }
}

/** Names that files do not import individually are not known here, so converting the others would change limits. */
export function blockOtherImports(files: readonly SourceFile[], findings: Findings): void {
  for (const file of files) {
    if (!file.getFullText().includes(THROTTLER)) continue;
    for (const literal of file.getDescendantsOfKind(SyntaxKind.StringLiteral)) {
      if (literal.getLiteralValue() !== THROTTLER) continue;
      const parent = literal.getParent();
      const isNamed = Node.isImportDeclaration(parent) && !parent.getNamespaceImport() && !parent.getDefaultImport();
      if (
        isNamed ||
        /\b(mock|unmock|doMock)$/.test(Node.isCallExpression(parent) ? parent.getExpression().getText() : '')
      )
        continue;
      findings.block(
        literal,
        'option-by-option',
        'Only named imports of @nestjs/throttler are converted: import the names that are used from there.',
      );
    }
  }
}

function exception(identifier: Identifier, findings: Findings, imports: Imports): void {
  if (Node.isNewExpression(identifier.getParent())) {
    findings.check(
      identifier,
      'option-by-option',
      '`RateLimitExceededException` needs a decision: throw another `HttpException` with status 429.',
    );
    return;
  }
  imports.need(identifier, 'RateLimitExceededException');
  findings.edits.replace(identifier, 'RateLimitExceededException');
  findings.converted('ThrottlerException', identifier);
}

/** A time helper outside of options becomes a product. */
function helper(identifier: Identifier, isConverted: (node: Node) => boolean, findings: Findings): void {
  const call = identifier.getParent();
  const found = call && helperOf(call);
  if (!call || !found || isConverted(call)) return;
  const isOperand = Node.isBinaryExpression(call.getParent());
  const product = productText(textOf(found.argument), found.ms);
  findings.edits.replace(call, isOperand ? `(${product})` : product);
  findings.converted('time helper', call);
}

function leftover(identifier: Identifier, name: string, findings: Findings): void {
  const [reason, section, blocking] = REASONS[name] ?? [
    `\`${name}\` of @nestjs/throttler has no counterpart.`,
    'option-by-option',
    false,
  ];
  if (blocking && !isTest(identifier.getSourceFile())) findings.block(identifier, section, reason);
  else findings.check(identifier, isTest(identifier.getSourceFile()) ? 'tests' : section, reason);
}
