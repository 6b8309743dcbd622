// Checks the imports of src (or of the given folder) against scripts/rooms.json, and that only one file reads the time.
// Prints each violation as `file:line: rule (what was found)`, and then exits with 1.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import ts from 'typescript';

/**
 * What each room may import: other rooms, and packages or Node's modules (`node:`). `types` are packages of which only
 * types are imported, `lazily` those that are imported when they are needed, by `import()`.
 */
const ROOMS = JSON.parse(readFileSync(new URL('rooms.json', import.meta.url), 'utf8'));

const root = process.argv[2] ?? 'src';
const CLOCK = 'util/clock.ts';
const INDEX = 'index.ts';

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
for (const [file, imports] of importsOf) checkFile(file, imports);
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
  if (time && source.fileName !== CLOCK) report(source.fileName, line, `only ${CLOCK} reads the time`, time);
  ts.forEachChild(node, (child) => visit(child, source));
}

/** The module that this node imports, if it is an import of any form; `lazy`: only when it is executed. */
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
    if (/^(import|require|createRequire\(.*\))$/.test(callee)) return { name: node.arguments[0].text, lazy: true };
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

function checkFile(file, imports) {
  if (file === INDEX) return;
  const room = roomOf(file);
  if (!room) return report(file, 1, `src has ${INDEX} and the rooms of scripts/rooms.json only`, file);
  for (const found of imports) checkImport(file, room, found);
}

function roomOf(file) {
  const [room, ...rest] = file.split('/');
  return rest.length > 0 && Object.hasOwn(ROOMS, room) ? room : undefined;
}

function checkImport(file, room, { name, line, target, type, lazy }) {
  const { rooms, packages, lazily = [], types = [] } = ROOMS[room];
  if (target === INDEX || /^nest-rate-limit(\/|$)/.test(name)) {
    report(file, line, 'no room imports src/index.ts', name);
  } else if (target !== undefined && !importsOf.has(target)) {
    report(file, line, 'imports name a file of src, with .js', name);
  } else if (target !== undefined) {
    const to = roomOf(target);
    if (to !== room && !rooms.includes(to)) report(file, line, ruleOf(room), name);
  } else if (!allows(packages, name) && !(type && allows(types, name)) && !(lazy && allows(lazily, name))) {
    report(file, line, ruleOf(room), name);
  }
}

function allows(packages, name) {
  return packages.some((one) => (one.endsWith(':') ? name.startsWith(one) : name === one));
}

/** The rule of a room in words, as CONTRIBUTING.md has it. */
function ruleOf(room) {
  const { rooms, packages, lazily = [], types = [] } = ROOMS[room];
  const parts = [
    ...rooms.map((one) => `${one}/`),
    ...packages,
    ...types.map((one) => `types of ${one}`),
    ...lazily.map((one) => `${one} lazily`),
  ];
  return `${room}/ imports only ${parts.join(', ') || 'itself'}`;
}

/** Reports each import that leads back to a file on the way to it. Types count, too. */
function findCircles() {
  const done = new Set();
  const walk = (file, path) => {
    for (const { target, line } of importsOf.get(file) ?? []) {
      const start = path.indexOf(target);
      if (start >= 0) report(file, line, 'no circular imports', [...path.slice(start), target].join(' -> '));
      else if (!done.has(target)) walk(target, [...path, target]);
    }
    done.add(file);
  };
  for (const file of importsOf.keys()) if (!done.has(file)) walk(file, [file]);
}
