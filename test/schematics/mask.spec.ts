import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';
import { maskSource } from '../../schematics/nest-add/mask.js';

const LITERALS = [
  ts.SyntaxKind.StringLiteral,
  ts.SyntaxKind.NoSubstitutionTemplateLiteral,
  ts.SyntaxKind.TemplateExpression,
  ts.SyntaxKind.TemplateLiteralType,
  ts.SyntaxKind.RegularExpressionLiteral,
];

/** Returns the code of a file without white space, comments and the contents of literals, as TypeScript parses it. */
function codeOf(node: ts.Node, file: ts.SourceFile): string {
  if (ts.isJSDoc(node)) return '';
  const text = node.getText(file);
  if (LITERALS.includes(node.kind)) return text[0] + text.slice(-1);
  const children = node.getChildren(file);
  return children.length > 0 ? children.map((child) => codeOf(child, file)).join('') : text;
}

describe('maskSource', () => {
  it('finds comments and literals where TypeScript finds them, in all sources of this repository', () => {
    const paths = ['src', 'schematics', 'test', 'sample-app']
      .flatMap((folder) =>
        readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => `${folder}/${name}`),
      )
      .filter((path) => path.endsWith('.ts'));
    expect(paths.length).toBeGreaterThan(300);
    for (const path of paths) {
      const text = readFileSync(path, 'utf8');
      const masked = maskSource(text);
      expect(masked.length).toBe(text.length);
      const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
      expect([path, masked.replace(/\s/g, '')]).toEqual([path, codeOf(file, file)]);
    }
  });
});
