import { type CallExpression, type Expression, Node, type ObjectLiteralExpression } from 'ts-morph';
import type { Findings } from './findings.js';
import { importedNames, REDIS_STORAGES, unwrap } from './names.js';
import type { Semantics, Throttler } from './policy.js';
import { propertyValue, readValue, type Value } from './value.js';

/** The options of `ThrottlerModule`, as far as they are known. */
export interface ModuleOptions {
  /** The call of `forRoot` or `forRootAsync`. */
  readonly call: CallExpression;
  /** The expression of the options, which is replaced. */
  readonly node: Node;
  readonly throttlers: readonly Throttler[];
  /** Source of the options that have a counterpart, by their name there. */
  readonly others: ReadonlyMap<string, Expression>;
}

const COMMON = [
  'ignoreUserAgents',
  'skipIf',
  'getTracker',
  'errorMessage',
  'setHeaders',
  'storage',
  'ipv6SubnetPrefix',
];
/** Options that a throttler may have instead of the module. */
const OF_THROTTLER = ['ignoreUserAgents', 'skipIf', 'getTracker', 'setHeaders'];

type Properties = ReadonlyMap<string, Expression>;

/** Reads the options of the module. What it cannot read blocks the conversion. */
export class ModuleOptionsReader {
  private readonly others = new Map<string, Expression>();

  constructor(
    private readonly call: CallExpression,
    private readonly semantics: Semantics,
    private readonly findings: Findings,
  ) {}

  read(expression: Expression): ModuleOptions | undefined {
    const node = unwrap(expression);
    const throttlers = this.throttlers(node);
    return throttlers && { call: this.call, node, throttlers, others: this.others };
  }

  private throttlers(node: Expression): Throttler[] | undefined {
    if (Node.isArrayLiteralExpression(node)) return this.list(node.getElements());
    if (!Node.isObjectLiteralExpression(node)) return this.unknown(node);
    const properties = propertiesOf(node);
    if (!properties) return this.unknown(node);
    for (const [name, value] of properties) {
      if (COMMON.includes(name)) this.others.set(name, value);
      else if (name === 'generateKey')
        this.block(
          value,
          'guards-of-your-own',
          '`generateKey` is not converted: write its parts as `key`, `name` and `perHandler`.',
        );
      else if (!['throttlers', 'limit', 'ttl', 'name', 'blockDuration'].includes(name)) this.unknown(value);
    }
    const list = properties.get('throttlers');
    if (!list) return this.single(node, properties);
    const elements = unwrap(list);
    return Node.isArrayLiteralExpression(elements) ? this.list(elements.getElements()) : this.unknown(elements);
  }

  /** Options of a throttler at the top level: the only ones before version 5, and ignored since. */
  private single(node: Expression, properties: Properties): Throttler[] | undefined {
    if (!this.semantics.inSeconds) return this.unknown(node);
    const [limit, ttl] = [properties.get('limit'), properties.get('ttl')];
    if (!limit || !ttl) return this.unknown(node);
    return [{ name: 'default', limit: readValue(limit), ttl: readValue(ttl) }];
  }

  private list(elements: readonly Expression[]): Throttler[] | undefined {
    if (elements.length === 0) {
      this.block(
        this.call,
        'a-module-without-a-guard',
        'An empty list of throttlers limits nothing: remove the module and its guard, or add `@RateLimit` to what should be limited.',
      );
      return undefined;
    }
    const throttlers = elements.map((element) => this.throttler(unwrap(element), elements.length));
    const known = throttlers.filter((throttler) => throttler !== undefined);
    if (new Set(known.map(({ name }) => name)).size < known.length) {
      this.block(this.call, 'option-by-option', 'Two throttlers have the same name, so they share their counts.');
    }
    return known.length === throttlers.length ? known : undefined;
  }

  private throttler(element: Expression, count: number): Throttler | undefined {
    if (!Node.isObjectLiteralExpression(element)) return this.fromType(element);
    const properties = propertiesOf(element);
    const [limit, ttl] = [properties?.get('limit'), properties?.get('ttl')];
    if (!properties || !limit || !ttl) return this.unknown(element);
    for (const [option, value] of properties) this.optionOfThrottler(option, value, count);
    const name = properties.get('name');
    const known = name ? stringOf(name) : 'default';
    if (known === undefined) return this.unknown(element);
    const block = properties.get('blockDuration');
    return { name: known, limit: readValue(limit), ttl: readValue(ttl), block: block && readValue(block) };
  }

  private optionOfThrottler(option: string, value: Expression, count: number): void {
    if (['name', 'limit', 'ttl', 'blockDuration'].includes(option)) return;
    if (option === 'generateKey') {
      this.block(
        value,
        'guards-of-your-own',
        '`generateKey` is not converted: write its parts as `key`, `name` and `perHandler`.',
      );
    } else if (OF_THROTTLER.includes(option) && count === 1) this.others.set(option, value);
    else if (option === 'setHeaders')
      this.findings.check(
        value,
        'option-by-option',
        '`setHeaders` of one throttler has no counterpart: `headers` is for all policies.',
      );
    else
      this.block(
        value,
        'option-by-option',
        `\`${option}\` of one of several throttlers is not converted: write it in each policy.`,
      );
  }

  /** A constant that holds the options of a throttler. */
  private fromType(element: Expression): Throttler | undefined {
    if (!Node.isIdentifier(element) && !Node.isPropertyAccessExpression(element)) return this.unknown(element);
    const type = element.getType();
    const value = (option: string): Value | undefined => {
      const property = type.getProperty(option);
      return property && propertyValue(element, `${element.getText()}.${option}`, property.getTypeAtLocation(element));
    };
    const known = ['name', 'limit', 'ttl', 'blockDuration'];
    const [name, limit, ttl, block] = known.map(value);
    const others = type.getProperties().filter((property) => !known.includes(property.getName()));
    if (name || !limit || !ttl || others.length > 0) return this.unknown(element);
    return { name: 'default', limit, ttl, block };
  }

  private unknown(node: Node): undefined {
    this.block(
      node,
      'limits-from-a-configuration',
      `The limits in \`${shortened(node)}\` are known only at run time: write them as \`default\`.`,
    );
    return undefined;
  }

  private block(...args: Parameters<Findings['block']>): void {
    this.findings.block(...args);
  }
}

/** The properties of an object literal; `undefined` if some are spread or computed. */
export function propertiesOf(node: ObjectLiteralExpression): Map<string, Expression> | undefined {
  const properties = new Map<string, Expression>();
  for (const property of node.getProperties()) {
    if (Node.isShorthandPropertyAssignment(property)) properties.set(property.getName(), property.getNameNode());
    else if (Node.isPropertyAssignment(property)) {
      const name = property.getNameNode();
      const known = Node.isComputedPropertyName(name) ? stringOf(name.getExpression()) : plainName(name);
      if (known === undefined) return undefined;
      properties.set(known, property.getInitializerOrThrow());
    } else return undefined;
  }
  return properties;
}

function plainName(name: Node): string {
  return Node.isStringLiteral(name) ? name.getLiteralValue() : name.getText();
}

/** The value of a string that is known without running the program. */
export function stringOf(node: Expression): string | undefined {
  if (Node.isStringLiteral(node) || Node.isNoSubstitutionTemplateLiteral(node)) return node.getLiteralValue();
  const type = node.getType();
  return type.isStringLiteral() ? String(type.getLiteralValue()) : undefined;
}

/** The argument of a Redis storage; `undefined` for any other storage. */
export function redisOf(storage: Expression): string | undefined {
  const node = unwrap(storage);
  if (!Node.isNewExpression(node)) return undefined;
  const name = node.getExpression().getText();
  if (!importedNames(node.getSourceFile(), REDIS_STORAGES).has(name)) return undefined;
  const [argument, ...more] = node.getArguments();
  return more.length > 0 ? undefined : (argument?.getText() ?? "'redis://localhost:6379'");
}

function shortened(node: Node): string {
  const text = node.getText().replace(/\s+/g, ' ');
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
