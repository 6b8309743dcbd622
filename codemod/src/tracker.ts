import { type Expression, Node, type ParameterDeclaration } from 'ts-morph';
import { unwrap } from './names.js';

/** What `getTracker` becomes. */
export type Tracker =
  /** The client's address, which is the default key. */
  | { readonly kind: 'address' }
  /** A key of the library. */
  | { readonly kind: 'helper'; readonly text: string; readonly names: readonly string[] }
  /** A function of its own. `shares` if requests without a value share one bucket. */
  | { readonly kind: 'custom'; readonly shares: boolean };

type FunctionNode = Node & { getParameters(): ParameterDeclaration[]; getBody(): Node | undefined };

const IP = String.raw`(?:req\.ip|req\.ips\[0\]|normalizeIp\(req\.ip\)|super\.getTracker\(req\))`;
const ADDRESS = new RegExp(
  String.raw`^(?:${IP}(?:(?:\|\||\?\?)${IP})*|req\.ips\.length(?:>0)?\?req\.ips\[0\]:req\.ip|req\.ips(?:&&req\.ips\.length(?:>0)?)?\?req\.ips\[0\]:req\.ip)$`,
);
const VALUE = String.raw`(req\.user(?:\.\w+)+|req\.headers\.\w+|req\.(?:headers\[|get\(|header\()['"][\w-]+['"][\])])`;
const WITH_ADDRESS = new RegExp(String.raw`^${VALUE}(?:\|\||\?\?)${IP}$`);
const USER_OR_ADDRESS = new RegExp(String.raw`^req\.user\?(req\.user(?:\.\w+)+):${IP}$`);
const USER = /^req\.user(?:\.\w+)+$/;

/** Recognizes what a `getTracker` returns. */
export function trackerOf(fn: FunctionNode): Tracker {
  const returned = returnedExpression(fn);
  const request = fn.getParameters()[0]?.getName();
  if (!returned || !request) return { kind: 'custom', shares: false };
  const source = normalized(returned, request);
  const text = source.replaceAll('?.', '.');
  if (ADDRESS.test(text)) return { kind: 'address' };
  const [, value] = WITH_ADDRESS.exec(text) ?? USER_OR_ADDRESS.exec(text) ?? [];
  if (value) return { kind: 'helper', ...helper(value, true) };
  // Without optional chaining, a request without a user is an error there, too.
  if (USER.test(source)) return { kind: 'helper', ...helper(source, false) };
  return { kind: 'custom', shares: new RegExp(`^${VALUE}$`).test(text) };
}

/** The expression that a function returns, if this is all that it does. */
export function returnedExpression(fn: FunctionNode): Expression | undefined {
  const body = fn.getBody();
  if (Node.isExpression(body)) return body;
  const statements = Node.isBlock(body) ? body.getStatements() : [];
  const [statement] = statements;
  return statements.length === 1 && Node.isReturnStatement(statement) ? statement.getExpression() : undefined;
}

function normalized(expression: Expression, request: string): string {
  let node = unwrap(expression);
  if (Node.isCallExpression(node) && /^(Promise\.resolve|String)$/.test(node.getExpression().getText())) {
    const [argument] = node.getArguments();
    if (Node.isExpression(argument)) node = unwrap(argument);
  }
  return node
    .getText()
    .replace(/\/\/.*|\/\*.*?\*\//g, '')
    .replace(/\s+as\s+[\w.<>[\]'", ]+(?=[)\s;]|$)/g, '')
    .replace(/\s+|!(?=[.)?])/g, '')
    .replace(new RegExp(String.raw`(?<![\w.])${request}\b`, 'g'), 'req');
}

function helper(value: string, orAddress: boolean): { text: string; names: string[] } {
  const names = orAddress ? ['byIp'] : [];
  const user = /^req\.user\.(.*)$/.exec(value)?.[1];
  const other = orAddress ? ', byIp()' : '';
  if (user) {
    const path = user === 'id' && !orAddress ? '' : `'${user}'`;
    return { text: `byUser(${path}${other})`, names: ['byUser', ...names] };
  }
  const header = /^req\.(?:headers\.|headers\[|get\(|header\()['"]?([\w-]+)/.exec(value)?.[1];
  return { text: `byHeader('${header}'${other})`, names: ['byHeader', ...names] };
}

/** A key of an inline tracker. */
export function customKey(node: Expression): string {
  const returned = Node.isArrowFunction(node) ? returnedExpression(node) : undefined;
  const [request, context] = Node.isArrowFunction(node) ? node.getParameters() : [];
  if (Node.isArrowFunction(node) && returned && request && !context) {
    const type = request.getTypeNode()?.getText();
    const declared = `const ${request.getNameNode().getText()}${type ? `: ${type}` : ''}`;
    const source = `${declared} = context.switchToHttp().getRequest(); return ${returned.getText()};`;
    return `${node.isAsync() ? 'async ' : ''}(context) => { ${source} }`;
  }
  return `(context) => (${node.getText()})(context.switchToHttp().getRequest(), context)`;
}
