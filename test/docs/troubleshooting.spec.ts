import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';

/** Messages that users do not see: of the test suite for stores, and of errors that are caught. */
const INTERNAL = ['Unknown op ', 'aborted'];

const page = plain(readFileSync('docs/troubleshooting.md', 'utf8'));

const messages = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .flatMap((file) => messagesIn(join('src', file)));

describe('docs/troubleshooting.md', () => {
  it('finds the messages in src', () => expect(messages.length).toBeGreaterThan(50));

  it.each(messages)('explains "$text"', ({ text }) => {
    expect(page).toContain(text);
  });
});

/** Returns the longest constant part of each message that a source file throws or logs. */
function messagesIn(path: string): { text: string }[] {
  const file = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true);
  const found: { text: string }[] = [];
  const visit = (node: ts.Node) => {
    const message = isReport(node) ? node.arguments?.flatMap(partsOf).toSorted((a, b) => b.length - a.length)[0] : '';
    if (message && message.length > 8 && !INTERNAL.includes(message)) found.push({ text: plain(message) });
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

/** Whether a node creates an error or logs a message. */
function isReport(node: ts.Node): node is ts.NewExpression | ts.CallExpression {
  if (ts.isNewExpression(node)) return /(Error|Exception)$/.test(node.expression.getText());
  return ts.isCallExpression(node) && /^(logger\.(warn|log|error)|warnOnce\.about)$/.test(node.expression.getText());
}

/** Returns the constant parts of a string, a template, or a concatenation of both. */
function partsOf(node: ts.Node): string[] {
  if (ts.isStringLiteralLike(node)) return [node.text];
  if (ts.isTemplateExpression(node)) return [node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)];
  if (ts.isBinaryExpression(node)) return [...partsOf(node.left), ...partsOf(node.right)];
  if (ts.isConditionalExpression(node)) return [...partsOf(node.whenTrue), ...partsOf(node.whenFalse)];
  return [];
}

function plain(text: string): string {
  return text.replaceAll('`', '').replace(/\s+/g, ' ');
}
