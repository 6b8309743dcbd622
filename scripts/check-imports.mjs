// Checks who imports whom in src (or in the folder that is given), and that time is read in one place only.
// Prints each violation as `file:line: rule (what was found)` and then ends with 1.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import ts from 'typescript';

const root = process.argv[2] ?? 'src';
const CLOCK = 'core/clock.ts';

/** What a folder may import: files of src (`to`) and packages (`from`). A folder not named may import all. */
const layers = [
  { folder: 'core/', to: /^core\//, from: /^$/, rule: 'core/ imports only core/' },
  {
    folder: 'stores/',
    to: /^(core\/|stores\/|observe\/channels\.ts$)/,
    from: /^(node:|ioredis$)/,
    rule: 'stores/ imports only core/, stores/, observe/channels and node: modules',
  },
  {
    folder: 'observe/',
    to: /^(core|observe)\//,
    from: /^node:/,
    rule: 'observe/ imports only core/, observe/ and node: modules',
  },
  {
    folder: 'opentelemetry/',
    to: /^(opentelemetry\/|observe\/channels\.ts$)/,
    from: /^(node:|@nestjs\/common$|@opentelemetry\/api$)/,
    rule: 'opentelemetry/ imports only observe/channels, @nestjs/common and @opentelemetry/api',
  },
  {
    folder: 'suspend/',
    to: /^(suspend\/|core\/(clock|duration|maybe-promise)\.ts$)/,
    from: /./,
    rule: 'suspend/ imports nothing of the limiter but core/clock, core/duration and core/maybe-promise',
  },
];

const violations = [];
const importsOf = new Map();
for (const file of readdirSync(root, { recursive: true })
  .map((name) => name.split(sep).join('/'))
  .sort()) {
  if (!/(?<!\.d)\.ts$/.test(file)) continue;
  const source = ts.createSourceFile(file, readFileSync(join(root, file), 'utf8'), ts.ScriptTarget.Latest, true);
  importsOf.set(file, []);
  visit(source, source);
}
for (const [file, imports] of importsOf) for (const found of imports) checkImport(file, found);
findCircles();

for (const { file, line, text } of violations.sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line)) {
  console.error(`${root}/${file}:${line}: ${text}`);
}
process.exitCode = violations.length > 0 ? 1 : 0;

function report(file, line, rule, found) {
  violations.push({ file, line, text: `${rule} (${found})` });
}

function visit(node, source) {
  const line = source.getLineAndCharacterOfPosition(node.getStart()).line + 1;
  const found = importIn(node);
  if (found) importsOf.get(source.fileName).push({ ...found, line, target: targetOf(source.fileName, found.name) });
  const time = timeIn(node);
  if (time && source.fileName !== CLOCK) report(source.fileName, line, `time comes from ${CLOCK} only`, time);
  ts.forEachChild(node, (child) => visit(child, source));
}

/** The module that this node imports, if it is an import of any form; `late`: only when it is run. */
function importIn(node) {
  if (ts.isImportDeclaration(node)) {
    const { importClause: clause, moduleSpecifier } = node;
    const named = clause && !clause.name && clause.namedBindings;
    return { name: moduleSpecifier.text, type: Boolean(clause?.isTypeOnly || (named && onlyTypes(named))) };
  }
  if (ts.isExportDeclaration(node) && node.moduleSpecifier) {
    const type = node.isTypeOnly || (node.exportClause && onlyTypes(node.exportClause));
    return { name: node.moduleSpecifier.text, type: Boolean(type) };
  }
  if (ts.isImportTypeNode(node)) return { name: node.argument.literal.text, type: true };
  if (ts.isCallExpression(node) && node.arguments.length === 1 && ts.isStringLiteralLike(node.arguments[0])) {
    const callee = node.expression.getText();
    if (/^(import|require|createRequire\(.*\))$/.test(callee)) return { name: node.arguments[0].text, late: true };
  }
}

function onlyTypes({ elements }) {
  return elements?.length > 0 && elements.every((element) => element.isTypeOnly);
}

/** The imported file, relative to the root; undefined for a package. */
function targetOf(file, name) {
  if (!name.startsWith('.')) return undefined;
  return relative(root, resolve(root, dirname(file), name))
    .split(sep)
    .join('/')
    .replace(/\.js$/, '.ts');
}

function timeIn(node) {
  const text = node.getText();
  if (ts.isPropertyAccessExpression(node) && /^(globalThis\.)?(Date|performance)\.now$/.test(text)) return text;
  if (!ts.isIdentifier(node) || !/^set(Timeout|Interval)$/.test(text)) return undefined;
  const { parent } = node;
  const isMember = ts.isPropertyAccessExpression(parent)
    ? parent.name === node && parent.expression.getText() !== 'globalThis'
    : parent.name === node && (ts.isTypeElement(parent) || ts.isClassElement(parent));
  return isMember ? undefined : text;
}

function checkImport(file, { name, line, target, type, late }) {
  const layer = layers.find(({ folder }) => file.startsWith(folder));
  if (target === 'index.ts' || /^nest-rate-limit(\/|$)/.test(name)) {
    report(file, line, 'nothing inside src imports src/index.ts', name);
  } else if (target !== undefined && !importsOf.has(target)) {
    report(file, line, 'imports name a file of src, with .js', name);
  } else if (layer && !(target === undefined ? layer.from.test(name) : layer.to.test(target))) {
    report(file, line, layer.rule, name);
  }
  if (/^ioredis(\/|$)/.test(name) && !(file.startsWith('stores/redis/') && (type || late))) {
    report(file, line, 'ioredis is imported in stores/redis/ only, as a type or when it is needed', name);
  }
  if (/^@nestjs\/(websockets|microservices|graphql)(\/|$)/.test(name) && !(file.startsWith('transport/') && late)) {
    report(file, line, 'packages of a transport are imported in transport/ only, when they are needed', name);
  }
  if (/^@opentelemetry\//.test(name) && !file.startsWith('opentelemetry/')) {
    report(file, line, 'OpenTelemetry is imported in opentelemetry/ only, which who lacks it does not load', name);
  }
  if (target?.startsWith('opentelemetry/') && !file.startsWith('opentelemetry/')) {
    report(file, line, 'nothing else imports opentelemetry/', name);
  }
  if (/^@nestjs\/(swagger|terminus)/.test(name)) {
    report(file, line, 'nobody needs @nestjs/swagger or @nestjs/terminus who does not use them', name);
  }
}

/** Each import that leads back to a file on the way to it closes a circle. Types count, too. */
function findCircles() {
  const done = new Set();
  const walk = (file, way) => {
    for (const { target, line } of importsOf.get(file) ?? []) {
      const start = way.indexOf(target);
      if (start >= 0) report(file, line, 'no circular imports', [...way.slice(start), target].join(' -> '));
      else if (!done.has(target)) walk(target, [...way, target]);
    }
    done.add(file);
  };
  for (const file of importsOf.keys()) if (!done.has(file)) walk(file, [file]);
}
