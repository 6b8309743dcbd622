/*
 * A scanner instead of the TypeScript compiler: the application may have a version of TypeScript without an API, or none
 * that this package can resolve.
 */

const COMMENT = /\/\/[^\r\n]*|\/\*.*?\*\//sy;
const STRING = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"/sy;
const REGEX = /\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/\w*/y;
/** What an expression can end with: a slash after it divides. */
const OPERAND_END = /[\w$)\]}'"`]$/;
const KEYWORD_END = /\b(?:return|typeof|case|in|of|new|void|throw|yield|await)$/;

/**
 * Replaces comments, and what is between the quotes of strings, templates and regular expressions, with spaces. Offsets
 * and line ends stay as they are, so that code can be found in the result and edited in the source.
 */
export function maskSource(source: string): string {
  let masked = '';
  while (masked.length < source.length) {
    const start = masked.length;
    const comment = tokenAt(source, start, COMMENT);
    const literal = comment ? '' : literalAt(source, start, masked);
    if (comment) masked += blank(comment);
    else if (literal) masked += literal[0] + blank(literal.slice(1, -1)) + literal.at(-1);
    else masked += source[start];
  }
  return masked;
}

function literalAt(source: string, start: number, before: string): string {
  if (source[start] === '`') return source.slice(start, endOfTemplate(source, start));
  if (source[start] !== '/') return tokenAt(source, start, STRING);
  const code = before.trimEnd();
  const isDivision = OPERAND_END.test(code) && !KEYWORD_END.test(code);
  return isDivision ? '' : tokenAt(source, start, REGEX);
}

/** Returns the offset behind a template, whose expressions may contain templates. */
function endOfTemplate(source: string, start: number): number {
  for (let at = start + 1; at < source.length; at++) {
    if (source[at] === '\\') at++;
    else if (source[at] === '`') return at + 1;
    else if (source.startsWith('${', at)) at = endOfExpression(source, at + 2);
  }
  return source.length;
}

/** Returns the offset of the brace that ends an expression in a template. */
function endOfExpression(source: string, start: number): number {
  let depth = 1;
  for (let at = start; at < source.length; at++) {
    const skipped = (tokenAt(source, at, COMMENT) || literalAt(source, at, source.slice(start, at))).length;
    if (skipped > 0) at += skipped - 1;
    else if (source[at] === '{') depth++;
    else if (source[at] === '}' && --depth === 0) return at;
  }
  return source.length;
}

function tokenAt(source: string, start: number, pattern: RegExp): string {
  pattern.lastIndex = start;
  return pattern.exec(source)?.[0] ?? '';
}

function blank(text: string): string {
  return text.replace(/[^\r\n]/g, ' ');
}
