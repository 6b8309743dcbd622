import { type Expression, Node, type Type } from 'ts-morph';
import { importedNames, THROTTLER, unwrap } from './names.js';

const HELPER_MS: Readonly<Record<string, number>> = {
  seconds: 1000,
  minutes: 60_000,
  hours: 3_600_000,
  days: 86_400_000,
  weeks: 604_800_000,
};

/** A number of an option, as the source has it. */
export interface Value {
  readonly node: Node;
  /** Its source. */
  readonly text: string;
  /** Its value, if it consists of literals. */
  readonly literal?: number;
  /** Its value, if it is known without running the program. */
  readonly known?: number;
  /** The call of a time helper that it is, with an argument that is no literal. */
  readonly helper?: { readonly ms: number; readonly argument: Value };
  /** Whether it is called for each request; `undefined` if that is unknown. */
  readonly isFunction?: boolean;
  /** Whether its type is `number`. */
  readonly isNumber: boolean;
}

/** Reads an expression. */
export function readValue(expression: Expression): Value {
  const node = unwrap(expression);
  const literal = literalOf(node);
  const type = node.getType();
  const call = literal === undefined ? helperOf(node) : undefined;
  return {
    node,
    text: textOf(node),
    literal,
    known: literal ?? knownOf(type),
    helper: call && { ms: call.ms, argument: readValue(call.argument) },
    isFunction: isFunction(node, type),
    isNumber: literal !== undefined || call !== undefined || isNumber(type) || isNumberCall(node),
  };
}

/** Source of an expression, without calls of time helpers. */
export function textOf(node: Node): string {
  const start = node.getStart();
  let text = '';
  let position = start;
  node.forEachDescendant((child, traversal) => {
    const call = helperOf(child);
    if (!call) return;
    text +=
      node.getSourceFile().getFullText().slice(position, child.getStart()) +
      `(${productText(textOf(call.argument), call.ms)})`;
    position = child.getEnd();
    traversal.skip();
  });
  return text + node.getSourceFile().getFullText().slice(position, node.getEnd());
}

/** Source of a product with a number. */
export function productText(factor: string, ms: number): string {
  const isSimple = /^[\w.]+(\([^()]*\))?$/.test(factor);
  return `${isSimple ? factor : `(${factor})`} * ${ms.toLocaleString('en').replaceAll(',', '_')}`;
}

/** The value of a property of an expression that is no object literal. */
export function propertyValue(owner: Node, text: string, type: Type): Value {
  return { node: owner, text, known: knownOf(type), isFunction: isFunction(owner, type), isNumber: isNumber(type) };
}

/** Source that yields the value as a number in a file; `undefined` if it refers to names that are not known there. */
export function numberText(value: Value, target: Node): string | undefined {
  const text = textIn(value, target);
  if (text === undefined || value.isNumber) return text;
  const plain = /^\+\s*(?!\+)(.*)$/s.exec(text)?.[1];
  return `Number(${plain ?? text})`;
}

function textIn(value: Value, target: Node): string | undefined {
  if (value.literal !== undefined) return value.node.getText();
  if (value.node.getSourceFile() === target.getSourceFile() && isInScope(value.node, target)) return value.text;
  if (value.known !== undefined) return String(value.known);
  const names = value.node.getDescendants().filter((node) => Node.isIdentifier(node));
  const isGlobal = /\bprocess\.env\b/.test(value.text) && names.length > 0;
  return isGlobal && names.every((name) => GLOBAL.test(name.getText())) ? value.text : undefined;
}

const GLOBAL = /^(process|env|Number|parseInt|parseFloat|[A-Z0-9_]+)$/;

/** Whether all names of an expression mean the same at another place of its file: it uses no local names. */
function isInScope(node: Node, target: Node): boolean {
  const functions = node.getAncestors().filter((ancestor) => Node.isFunctionLikeDeclaration(ancestor));
  return functions.every((each) => target === each || target.getAncestors().includes(each));
}

/** The value of an expression of literals, arithmetic and time helpers. */
function literalOf(node: Expression): number | undefined {
  if (Node.isNumericLiteral(node)) return node.getLiteralValue();
  if (Node.isPrefixUnaryExpression(node)) return undefined;
  if (Node.isBinaryExpression(node)) {
    const [left, right] = [literalOf(unwrap(node.getLeft())), literalOf(unwrap(node.getRight()))];
    return left === undefined || right === undefined
      ? undefined
      : compute(node.getOperatorToken().getText(), left, right);
  }
  const call = helperOf(node);
  const argument = call && literalOf(unwrap(call.argument));
  return call && argument !== undefined ? argument * call.ms : undefined;
}

function compute(operator: string, left: number, right: number): number | undefined {
  if (operator === '*') return left * right;
  if (operator === '/') return left / right;
  if (operator === '+') return left + right;
  return operator === '-' ? left - right : undefined;
}

/** A call of `seconds` and the like, imported from @nestjs/throttler. */
export function helperOf(node: Node): { ms: number; argument: Expression } | undefined {
  if (!Node.isCallExpression(node)) return undefined;
  const name = importedNames(node.getSourceFile(), [THROTTLER]).get(node.getExpression().getText());
  const [argument] = node.getArguments();
  const ms = name === undefined ? undefined : HELPER_MS[name];
  return ms !== undefined && Node.isExpression(argument) ? { ms, argument } : undefined;
}

function knownOf(type: Type): number | undefined {
  const value = type.isNumberLiteral() ? type.getLiteralValue() : undefined;
  return typeof value === 'number' ? value : undefined;
}

function isNumber(type: Type): boolean {
  return type.isUnion() ? type.getUnionTypes().every(isNumber) : type.isNumber() || type.isNumberLiteral();
}

/** Calls that return numbers, also if types of the project are not installed. */
function isNumberCall(node: Node): boolean {
  return (
    Node.isCallExpression(node) &&
    /^(Number|parseInt|parseFloat|Number\.parse(Int|Float))$/.test(node.getExpression().getText())
  );
}

function isFunction(node: Node, type: Type): boolean | undefined {
  if (Node.isArrowFunction(node) || Node.isFunctionExpression(node)) return true;
  const types = type.isUnion() ? type.getUnionTypes() : [type];
  const callable = types.filter((each) => each.getCallSignatures().length > 0).length;
  return callable > 0 && callable < types.length ? undefined : callable > 0;
}
