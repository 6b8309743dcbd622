import { type ClassDeclaration, type MethodDeclaration, Node, type PropertyDeclaration } from 'ts-morph';
import type { Edits } from './edits.js';

/** Removes `override`: `RateLimitGuard` does not have the member. */
export function dropOverride(edits: Edits, member: MethodDeclaration | PropertyDeclaration): void {
  const override = member.getModifiers().find((modifier) => modifier.getText() === 'override');
  if (!override) return;
  const file = member.getSourceFile();
  const [space = ''] = /^\s*/.exec(file.getFullText().slice(override.getEnd())) ?? [];
  edits.replaceRange(file, override.getStart(), override.getEnd() + space.length, '');
}

/** Turns a method into a static one that receives the context only. */
export function becomeStatic(edits: Edits, method: MethodDeclaration, name: string, context = 'context'): void {
  const returns = method.getReturnTypeNode()?.getText();
  const head = `static ${method.isAsync() ? 'async ' : ''}${name}(${context}: ExecutionContext)${returns ? `: ${returns}` : ''} `;
  const body = method.getBodyOrThrow();
  edits.replaceRange(method.getSourceFile(), method.getStart(), body.getStart(), head);
}

/** Declares the request that a tracker had as a parameter. */
export function declareRequest(edits: Edits, method: MethodDeclaration): void {
  const [request, second] = method.getParameters();
  const body = method.getBodyOrThrow();
  const indent = `${' '.repeat(method.getStart() - method.getStartLinePos())}  `;
  const semicolon = /;\s*$/m.test(body.getText()) ? ';' : '';
  const type = request.getTypeNode();
  const declared = `const ${request.getNameNode().getText()}${type ? `: ${type.getText()}` : ''}`;
  const text = `\n${indent}${declared} = ${second?.getName() ?? 'context'}.switchToHttp().getRequest()${semicolon}`;
  edits.insert(method.getSourceFile(), body.getStart() + 1, text);
}

/** Whether a method needs the instance: `this` with members of the base class, or `super`. */
export function dependsOnInstance(owner: ClassDeclaration, method: MethodDeclaration, allowed?: RegExp): boolean {
  const becomesStatic = /^(getTracker|throwThrottlingException)$/.test(method.getName());
  return method.getDescendants().some((node) => {
    if (Node.isSuperExpression(node)) {
      const text = node.getParentOrThrow().getText();
      return !(allowed?.test(text) || allowed?.test(`${text}(`));
    }
    if (!Node.isThisExpression(node)) return false;
    const member = node.getParent();
    const own = Node.isPropertyAccessExpression(member) && owner.getInstanceMember(member.getName());
    return becomesStatic || !own || isDropped(own);
  });
}

/** Whether a member is removed or becomes static. */
export function isDropped(member: Node): boolean {
  return (
    Node.isMethodDeclaration(member) && /^(getTracker|throwThrottlingException|getErrorMessage)$/.test(member.getName())
  );
}
