import { appendTo, applyEdits, closingOf, type Edit, indentOf, lineEndOf, type Source } from './edit.js';
import { maskSource } from './mask.js';

const PACKAGE = 'nest-rate-limit';
const MODULE = 'RateLimitModule';
const ELEMENT = `${MODULE}.forRoot()`;

/** Whether a source registers the module. */
export function registersModule(text: string): boolean {
  return text.includes(MODULE) && /\bRateLimitModule\s*\.\s*forRoot(?:Async)?\b/.test(maskSource(text));
}

/** Whether a source declares a class with `@Module`, by default any. */
export function declaresModule(text: string, className?: string): boolean {
  return metadataOf({ text, masked: maskSource(text) }, className) !== undefined;
}

/**
 * Returns the source with `RateLimitModule.forRoot()` in the imports of a module, by default of its only one. Returns
 * `undefined` for a source that cannot be edited with certainty.
 */
export function addToImports(text: string, className?: string): string | undefined {
  const source = { text, masked: maskSource(text) };
  const metadata = metadataOf(source, className);
  const inMetadata = metadata && editMetadata(source, metadata.open, metadata.close);
  const inImports = editImportStatements(source);
  return inMetadata && inImports && applyEdits(text, [...inImports, ...inMetadata]);
}

/** Returns the braces of the object in the `@Module` decorator of a class. */
function metadataOf({ masked }: Source, className: string | undefined): { open: number; close: number } | undefined {
  const found = [];
  for (const { index, 0: start } of masked.matchAll(/@(?:\w+\.)?Module\s*\(\s*(?=\{)/g)) {
    const open = index + start.length;
    const close = closingOf(masked, open);
    if (close === undefined) continue;
    const [, name] = /\bclass\s+(\w+)/.exec(masked.slice(close)) ?? [];
    if (className === undefined || name === className) found.push({ open, close });
  }
  return found.length === 1 ? found[0] : undefined;
}

function editMetadata(source: Source, open: number, close: number): Edit[] | undefined {
  const { text, masked } = source;
  const keys = keysOf(masked, open, close);
  if (keys.some((key) => masked.startsWith('...', key))) return undefined; // may contain imports
  const key = keys.find((at) => /^(?:imports\b|'imports'|"imports")/.test(text.slice(at)));
  if (key === undefined) return [addProperty(text, open, close, keys[0])];
  const [colon] = /^[^:,]*:\s*(?=\[)/.exec(masked.slice(key, close)) ?? [];
  const array = colon === undefined ? undefined : key + colon.length;
  const end = array === undefined ? undefined : closingOf(masked, array);
  if (array === undefined || end === undefined) return undefined;
  const isWholeValue = /^\s*(?:,|$)/.test(masked.slice(end + 1, close));
  return isWholeValue ? appendTo(source, array, end, ELEMENT) : undefined;
}

/** Returns the offsets of the properties of an object. */
function keysOf(masked: string, open: number, close: number): number[] {
  const keys: number[] = [];
  let isKeyNext = true;
  for (let at = open + 1; at < close; at++) {
    if (masked[at] === ',') isKeyNext = true;
    else if (isKeyNext && /\S/.test(masked[at])) {
      keys.push(at);
      isKeyNext = false;
    }
    if ('([{'.includes(masked[at])) at = closingOf(masked, at) ?? close;
  }
  return keys;
}

function addProperty(text: string, open: number, close: number, firstKey: number | undefined): Edit {
  const property = `imports: [${ELEMENT}]`;
  if (!text.slice(open + 1, close).trim()) return { start: open + 1, end: close, text: ` ${property} ` };
  const isMultiline = text.slice(open, firstKey ?? close).includes('\n');
  if (firstKey !== undefined && !isMultiline) return { start: firstKey, text: `${property}, ` };
  const indent = firstKey === undefined ? `${indentOf(text, open)}  ` : indentOf(text, firstKey);
  return { start: open + 1, text: `${lineEndOf(text)}${indent}${property},` };
}

/** Imports the module, unless it is imported. Returns `undefined` if its name is used for something else. */
function editImportStatements(source: Source): Edit[] | undefined {
  const { text, masked } = source;
  let last: { start: number; quote: string } | undefined;
  let named: { open: number; close: number } | undefined;
  for (const match of masked.matchAll(/^import(?=[\s{*'"])([^'";]*)(['"])(\s*)\2/gm)) {
    const { index, 0: statement, 1: clause, 2: quote, 3: specifier } = match;
    last = { start: index + statement.length, quote };
    const from = index + 'import'.length + clause.length + quote.length;
    if (text.slice(from, from + specifier.length) !== PACKAGE) continue;
    if (/[{,]\s*RateLimitModule\s*[,}]/.test(clause) && !/^\s*type\b/.test(clause)) return [];
    const open = masked.indexOf('{', index);
    if (/^\s*\{/.test(clause)) named = { open, close: masked.indexOf('}', open) };
  }
  if (/\bRateLimitModule\b/.test(masked)) return undefined;
  if (named) return appendTo(source, named.open, named.close, MODULE);
  const newLine = lineEndOf(text);
  if (!last) return [{ start: 0, text: importStatement("'", ';') + newLine }];
  const { start, quote } = last;
  const [restOfLine] = /^[^\r\n]*/.exec(masked.slice(start)) ?? [''];
  const semicolon = restOfLine.includes(';') ? ';' : '';
  return [{ start: start + restOfLine.length, text: newLine + importStatement(quote, semicolon) }];
}

function importStatement(quote: string, semicolon: string): string {
  return `import { ${MODULE} } from ${quote}${PACKAGE}${quote}${semicolon}`;
}
