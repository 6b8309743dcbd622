import { type CallExpression, type Decorator, type Expression, Node } from 'ts-morph';
import type { Findings } from './findings.js';
import { propertiesOf } from './module-options.js';
import { unwrap } from './names.js';
import type { Semantics } from './policy.js';
import { customKey, trackerOf } from './tracker.js';
import { propertyValue, readValue, type Value } from './value.js';

/** The fields of a throttler that a decorator changes. */
export interface Override {
  readonly limit?: Value;
  readonly ttl?: Value;
  readonly block?: Value;
  readonly key?: string;
}

/** What the decorators of one class or method declare. */
export interface Declared {
  readonly overrides: ReadonlyMap<string, Override>;
  readonly skips: ReadonlyMap<string, boolean>;
}

/** Reads the arguments of `@Throttle` and `@SkipThrottle`. */
export class DecoratorReader {
  constructor(
    private readonly semantics: Semantics,
    private readonly findings: Findings,
  ) {}

  /** Reads the calls of one target, from top to bottom. */
  read(calls: readonly { readonly call: CallExpression; readonly name: string }[]): Declared {
    const overrides = new Map<string, Override>();
    const skips = new Map<string, boolean>();
    // Decorators run from the bottom up, so the upper one wins.
    for (const { call, name } of [...calls].reverse()) {
      if (name === 'Throttle') for (const [key, override] of this.overrides(call)) overrides.set(key, override);
      else for (const [key, skip] of this.skips(call)) skips.set(key, skip);
    }
    return { overrides, skips };
  }

  private overrides(call: CallExpression): [string, Override][] {
    const [first, second] = call.getArguments().filter((each) => Node.isExpression(each)) as Expression[];
    if (this.semantics.inSeconds) {
      return [['default', { limit: first && readValue(first), ttl: second && readValue(second) }]];
    }
    const argument = first && unwrap(first);
    if (!argument || second) return this.unknown(call);
    if (!Node.isObjectLiteralExpression(argument)) return this.fromConstant(call, argument);
    const properties = propertiesOf(argument);
    if (!properties) return this.unknown(call);
    return [...properties].flatMap(([name, options]) => {
      const override = this.override(call, unwrap(options));
      return override ? [[name, override] as [string, Override]] : [];
    });
  }

  private override(call: CallExpression, options: Expression): Override | undefined {
    if (!Node.isObjectLiteralExpression(options)) return this.fromType(call, options, options.getText());
    const properties = propertiesOf(options);
    if (!properties || properties.has('generateKey')) {
      this.unknown(call);
      return undefined;
    }
    const value = (name: string) => {
      const expression = properties.get(name);
      return expression && expression.getText() !== 'undefined' ? readValue(expression) : undefined;
    };
    const tracker = properties.get('getTracker');
    return {
      limit: value('limit'),
      ttl: value('ttl'),
      block: value('blockDuration'),
      key: tracker && this.key(call, tracker),
    };
  }

  private key(call: CallExpression, tracker: Expression): string {
    const node = unwrap(tracker);
    const known = Node.isArrowFunction(node) || Node.isFunctionExpression(node) ? trackerOf(node) : undefined;
    if (known?.kind === 'custom' && known.shares) {
      this.findings.check(
        call,
        'guards-of-your-own',
        'Requests without this value share one bucket, or fail if it is empty.',
      );
    }
    return customKey(node);
  }

  /** `@Throttle(CONSTANT)`: the fields of its type. */
  private fromConstant(call: CallExpression, node: Expression): [string, Override][] {
    if (!Node.isIdentifier(node) && !Node.isPropertyAccessExpression(node)) return this.unknown(call);
    const properties = node.getType().getProperties();
    if (properties.length === 0) return this.unknown(call);
    return properties.flatMap((property) => {
      const name = property.getName();
      const text = /^[A-Za-z_$][\w$]*$/.test(name) ? `${node.getText()}.${name}` : `${node.getText()}['${name}']`;
      const override = this.fromType(call, node, text, name);
      return override ? [[name, override] as [string, Override]] : [];
    });
  }

  private fromType(call: CallExpression, node: Expression, text: string, name?: string): Override | undefined {
    const outer = node.getType();
    const type = name === undefined ? outer : outer.getProperty(name)?.getTypeAtLocation(node);
    const names = type?.getProperties().map((property) => property.getName()) ?? [];
    const isKnown = names.length > 0 && names.every((each) => ['limit', 'ttl', 'blockDuration'].includes(each));
    if (!type || !isKnown) {
      this.unknown(call);
      return undefined;
    }
    const value = (option: string) => {
      const property = type.getProperty(option);
      if (property?.isOptional()) this.unknown(call);
      return property && propertyValue(node, `${text}.${option}`, property.getTypeAtLocation(node));
    };
    return { limit: value('limit'), ttl: value('ttl'), block: value('blockDuration') };
  }

  private skips(call: CallExpression): [string, boolean][] {
    const [argument] = call.getArguments();
    if (!argument) return [['default', true]];
    if (this.semantics.inSeconds) {
      const text = argument.getText();
      if (text === 'true' || text === 'false') return [['default', text === 'true']];
      return this.unknown(call);
    }
    const properties = Node.isObjectLiteralExpression(argument) ? propertiesOf(argument) : undefined;
    if (!properties) return this.unknown(call);
    return [...properties].flatMap(([name, value]) => {
      const text = value.getText();
      if (text !== 'true' && text !== 'false') return this.unknown(call);
      return [[name, text === 'true'] as [string, boolean]];
    });
  }

  private unknown(call: CallExpression): [] {
    const text = call.getText().replace(/\s+/g, ' ');
    this.findings.block(
      call,
      'decorators',
      `What \`@${text.slice(0, 60)}\` means is known only at run time: write it as \`@RateLimit\`.`,
    );
    return [];
  }
}

/** The decorator whose call this is. */
export function decoratorOf(call: CallExpression): Decorator | undefined {
  const parent = call.getParent();
  return Node.isDecorator(parent) ? parent : undefined;
}
