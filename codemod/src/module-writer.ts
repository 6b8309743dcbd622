import { type Expression, Node } from 'ts-morph';
import { indentAt } from './edits.js';
import type { Findings } from './findings.js';
import { SHARED } from './guard-class.js';
import type { Guards } from './guards.js';
import type { Imports } from './imports.js';
import { type ModuleOptions, redisOf } from './module-options.js';
import { quoted, unwrap } from './names.js';
import { type Entries, isResolved, listText, objectText, policyEntries, type Semantics } from './policy.js';
import { customKey, type Tracker, trackerOf } from './tracker.js';
import { warnOfUnit } from './units.js';

/** Writes the options of `RateLimitModule`. */
export class ModuleWriter {
  private readonly indent: string;

  constructor(
    private readonly options: ModuleOptions,
    private readonly guards: Guards,
    private readonly semantics: Semantics,
    private readonly findings: Findings,
    private readonly imports: Imports,
  ) {
    this.indent = indentAt(options.node.getSourceFile(), options.node.getStart());
  }

  write(): void {
    const { node } = this.options;
    const entries: Entries = [['guard', 'false']];
    const policies = this.policies();
    if (policies) entries.push(['default', policies]);
    this.addKey(entries);
    this.addSkip(entries);
    this.addMessage(entries);
    this.addStore(entries);
    this.addHeaders(entries);
    // Multi-line: the options of an application are read more often than written.
    const text = objectText(entries, this.indent, Infinity);
    const isBody = Node.isArrowFunction(node.getParent());
    this.findings.edits.replace(node, isBody ? `(${text})` : text);
  }

  private policies(): string | undefined {
    const { throttlers, node, call } = this.options;
    const target = node;
    const written = throttlers.map((throttler) => {
      warnOfUnit(throttler.ttl, call, this.semantics, this.findings);
      const policy = policyEntries(throttler, this.semantics, target);
      if ('error' in policy) this.findings.block(call, 'option-by-option', sentence(policy.error));
      const name: Entries = throttlers.length > 1 ? [['name', quoted(throttler.name, node)]] : [];
      return 'error' in policy ? [] : ([...name, ['perHandler', 'true'], ...policy] as Entries);
    });
    if (throttlers.some(isResolved)) {
      if (throttlers.length > 1) {
        this.findings.block(
          call,
          'option-by-option',
          'A function as `limit` or `ttl` of one of several throttlers: write a resolver for each as `default`.',
        );
      }
      return `async (context) => (${objectText(written[0], `${this.indent}  `)})`;
    }
    const deeper = `${this.indent}  `;
    if (written.length === 1) return objectText(written[0], deeper);
    return listText(
      written.map((entries) => objectText(entries, `${deeper}  `, deeper.length + 2)),
      deeper,
    );
  }

  /** The key of the option, or else the one that all bound guards have. */
  private addKey(entries: Entries): void {
    const option = this.options.others.get('getTracker');
    const subnet = this.options.others.get('ipv6SubnetPrefix');
    if (option) {
      entries.push(...this.keyOfOption(option));
    } else {
      const keys = new Set([...this.guards.bound].map((name) => this.keyOfGuard(name) ?? ''));
      if (keys.size > 1) {
        this.findings.block(
          this.options.call,
          'guards-of-your-own',
          `The guards ${[...this.guards.bound].join(', ')} have different trackers, and the module has one \`key\`: give policies a \`key\` where they differ.`,
        );
      }
      const [key] = keys;
      if (key) entries.push(['key', key]);
    }
    if (!subnet) return;
    if (entries.some(([name]) => name === 'key')) {
      this.findings.check(
        this.options.call,
        'option-by-option',
        '`ipv6SubnetPrefix` has no effect on a `key` of your own.',
      );
    } else {
      this.imports.need(this.options.node, 'byIp');
      entries.push(['key', `byIp({ ipv6Subnet: ${subnet.getText()} })`]);
    }
  }

  private keyOfOption(option: Expression): Entries {
    const node = unwrap(option);
    const isFunction = Node.isArrowFunction(node) || Node.isFunctionExpression(node);
    const tracker: Tracker = isFunction ? trackerOf(node) : { kind: 'custom', shares: false };
    if (tracker.kind === 'address') return [];
    if (tracker.kind === 'helper') return [['key', this.helper(tracker)]];
    this.checkTransports(node);
    if (tracker.shares) this.findings.check(this.options.call, 'guards-of-your-own', SHARED);
    return [['key', customKey(node)]];
  }

  private keyOfGuard(name: string): string | undefined {
    const guard = this.guards.classes.find((each) => each.name === name);
    if (!guard) return undefined;
    if (!guard.key) return this.keyOfGuard(guard.base);
    if (guard.key.kind === 'address') return undefined;
    if (guard.key.kind === 'helper') return this.helper(guard.key);
    this.checkTransports(guard.node);
    this.needClass(guard.node);
    return `${guard.name}.key`;
  }

  private helper({ text, names }: Tracker & { kind: 'helper' }): string {
    for (const name of names) this.imports.need(this.options.node, name);
    return quoted('', this.options.node) === '""' ? text.replaceAll("'", '"') : text;
  }

  /** A tracker of its own reads requests of HTTP only. */
  private checkTransports(node: Node): void {
    if (!this.guards.classes.some(({ unwraps }) => unwraps)) return;
    this.findings.block(
      node,
      'guards-of-your-own',
      '`getTracker` received requests of GraphQL or gateways: write `key` as a function of the context.',
    );
  }

  private needClass(node: Node): void {
    const file = this.options.node.getSourceFile();
    const other = node.getSourceFile();
    if (!Node.isClassDeclaration(node) || other === file) return;
    const name = node.getName() ?? '';
    const isImported = file
      .getImportDeclarations()
      .some((each) => each.getNamedImports().some((one) => one.getName() === name));
    if (isImported) return;
    if (!node.isExported())
      this.findings.block(node, 'guards-of-your-own', `Export ${name}, because the module needs its key.`);
    const extension = /from ['"]\.[^'"]*(\.[jt]s)['"]/.exec(file.getFullText())?.[1] ?? '';
    this.imports.need(this.options.node, name, file.getRelativePathAsModuleSpecifierTo(other) + extension);
  }

  private addSkip(entries: Entries): void {
    const { others, call } = this.options;
    const [skipIf, agents] = [others.get('skipIf'), others.get('ignoreUserAgents')];
    const ignored = agents && ignoredAgents(agents);
    if (ignored && this.guards.classes.some(({ unwraps }) => unwraps)) {
      this.findings.block(
        call,
        'option-by-option',
        '`ignoreUserAgents` reads requests of GraphQL or gateways: write `skip` as a function of the context.',
      );
    }
    if (skipIf && ignored) entries.push(['skip', `(context) => (${skipIf.getText()})(context) || ${ignored}`]);
    else if (skipIf) entries.push(['skip', skipIf.getText()]);
    else if (ignored) entries.push(['skip', `(context) => ${ignored}`]);
  }

  private addMessage(entries: Entries): void {
    const option = this.options.others.get('errorMessage');
    const bound = this.guards.classes.filter(({ name }) => this.guards.bound.has(name));
    const guards = bound.filter(({ message, hasOnLimited }) => message || hasOnLimited);
    const different = new Set(guards.map(({ message, name }) => message ?? name)).size > 1;
    if (different || (guards.length > 0 && guards.length < this.guards.bound.size)) {
      this.findings.check(
        this.options.call,
        'guards-of-your-own',
        'The guards reject with different messages; the module has one: set `message` of policies where they differ.',
      );
    }
    for (const guard of guards) {
      if (guard.hasOnLimited || guard.message === `${guard.name}.message`) this.needClass(guard.node);
    }
    const replaced = guards.find(({ hasOnLimited }) => hasOnLimited);
    if (replaced) entries.push(['onLimited', `${replaced.name}.onLimited`]);
    const message = option ? this.messageOption(option) : guards.find((guard) => guard.message)?.message;
    if (message) entries.push(['message', message]);
  }

  private messageOption(option: Expression): string | undefined {
    const node = unwrap(option);
    const [, detail] = Node.isArrowFunction(node) || Node.isFunctionExpression(node) ? node.getParameters() : [];
    if (!detail) return option.getText();
    this.findings.check(
      this.options.call,
      'option-by-option',
      '`errorMessage` read details of throttler: write `message: (context, decision) => …`.',
    );
    return undefined;
  }

  private addStore(entries: Entries): void {
    const storage = this.options.others.get('storage');
    if (!storage) return;
    const redis = redisOf(storage);
    if (redis === undefined) {
      this.findings.block(
        storage,
        'storage',
        'Only the Redis storages are converted: write a store, or `store: { redis }`.',
      );
    } else if (redis.includes('\n')) {
      entries.push([
        'store',
        `{\n${this.indent}    redis: ${reindented(redis, `${this.indent}    `)},\n${this.indent}  }`,
      ]);
    } else entries.push(['store', `{ redis: ${redis} }`]);
  }

  private addHeaders(entries: Entries): void {
    const option = this.options.others.get('setHeaders')?.getText();
    const all = `[${quoted('draft-11', this.options.node)}, ${quoted('legacy', this.options.node)}]`;
    if (option === 'false') entries.push(['headers', 'false']);
    else if (option && option !== 'true') entries.push(['headers', `(${option}) === false ? false : ${all}`]);
    else entries.push(['headers', all]);
  }
}

/** Moves the lines of an expression, so that its last one has the given indentation. */
function reindented(text: string, indent: string): string {
  if (text.includes('`')) return text;
  const [first, ...lines] = text.split('\n');
  const [last = ''] = /^[ \t]*/.exec(lines[lines.length - 1]) ?? [];
  return [first, ...lines.map((line) => (line.startsWith(last) ? indent + line.slice(last.length) : line))].join('\n');
}

function ignoredAgents(agents: Expression): string {
  const test = "pattern.test(context.switchToHttp().getRequest().headers['user-agent'])";
  return `(${agents.getText()}).some((pattern) => ${test})`;
}

function sentence(text: string): string {
  return text[0] === '`' ? text : text[0].toUpperCase() + text.slice(1);
}
