/*
 * What the library imports from Node and Nest on the way from options to a decision, for browsers. The site's
 * configuration replaces `node:util`, `node:crypto`, `node:net` and `@nestjs/common` by this file.
 */

const QUOTES = ["'", '"', '`'];
const ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\t': '\\t', '\r': '\\r', '\b': '\\b', '\f': '\\f' };

/** Quotes a string as `inspect` of Node does. */
export function inspect(text: string): string {
  const quote = QUOTES.find((one) => !text.includes(one) && (one !== '`' || !text.includes('${'))) ?? "'";
  const escaped = text.replace(/[\p{Cc}\\'\ud800-\udfff]/gu, (character) => {
    if (character === "'") return quote === "'" ? "\\'" : "'";
    if (character === '\\') return '\\\\';
    if (character === '\v') return '\\x0B';
    const code = character.charCodeAt(0).toString(16);
    return ESCAPES[character] ?? (code.length > 2 ? `\\u${code}` : `\\x${code.padStart(2, '0').toUpperCase()}`);
  });
  return quote + escaped + quote;
}

/** Fails: browsers have no synchronous hash. */
export function createHash(): never {
  throw new Error('A `key` of more than 256 characters, or one that begins with %, is not available in the playground');
}

/** Not used: the clients of the playground have names, not addresses. */
export function isIP(): number {
  return 0;
}

/** Logs nothing: a simulation has no warnings. */
export class Logger {
  warn(): void {}
}

/** Not thrown: a simulation has no clients that disconnect. */
export class HttpException extends Error {}
