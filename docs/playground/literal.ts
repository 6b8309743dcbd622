/**
 * Reads the argument of `@RateLimit` as it is written in code: objects, lists, strings, numbers, `true`, `false`,
 * `Infinity`, `TimeUnit.MINUTES`, comments, and optionally `@RateLimit( … )` around it. Nothing is evaluated.
 */
export function parseLiteral(text: string): unknown {
  if (text.length > MAX_LENGTH) throw new LiteralError(`The policy must be at most ${MAX_LENGTH} characters`);
  return new LiteralReader(text).read();
}

/** The text is not a literal. The message names the line and the column. */
export class LiteralError extends Error {
  override readonly name = 'LiteralError';
}

const MAX_LENGTH = 5000;
const MAX_DEPTH = 10;

const SPACE = /(?:\s|\/\/.*|\/\*[\s\S]*?\*\/)*/y;
const WORD = /[\p{ID_Start}$_][\p{ID_Continue}$]*(?:\.[\p{ID_Start}$_][\p{ID_Continue}$]*)*/uy;
const NUMBER = /[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:e[-+]?\d+)?/iy;
const STRING = /'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\$]|\\.)*`/y;
const OPENING = /@?RateLimit\s*\(/y;

const WORDS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['true', true],
  ['false', false],
  ['null', null],
  ['undefined', undefined],
  ['Infinity', Infinity],
  ['NaN', NaN],
  ...['MILLISECONDS', 'SECONDS', 'MINUTES', 'HOURS', 'DAYS'].map(
    (unit) => [`TimeUnit.${unit}`, unit.toLowerCase()] as const,
  ),
]);

class LiteralReader {
  private at = 0;
  private depth = 0;

  constructor(private readonly text: string) {}

  read(): unknown {
    this.skipSpace();
    const isCall = this.match(OPENING) !== undefined;
    const value = this.value();
    if (isCall) {
      this.accept(',');
      this.expect(')');
    }
    this.accept(';');
    if (this.at < this.text.length) this.fail('expected the end');
    return value;
  }

  private value(): unknown {
    this.skipSpace();
    const character = this.text[this.at];
    if (character === '{' || character === '[') {
      if (++this.depth > MAX_DEPTH) this.fail(`expected at most ${MAX_DEPTH} levels`);
      const value = character === '{' ? this.object() : this.list();
      this.depth--;
      return value;
    }
    const string = this.match(STRING);
    if (string !== undefined) return unescaped(string);
    const number = this.match(NUMBER);
    if (number !== undefined) return Number(number.replaceAll('_', ''));
    return this.word();
  }

  private word(): unknown {
    const start = this.at;
    const word = this.match(WORD);
    if (word !== undefined && WORDS.has(word)) return WORDS.get(word);
    this.at = start;
    if (word === undefined && this.text[start] !== '(') this.fail('expected a value');
    return this.fail('expected a constant: functions and variables are not available here');
  }

  private object(): object {
    const object = {};
    this.expect('{');
    while (!this.accept('}')) {
      const name = this.name();
      this.expect(':');
      // Not by assignment, which would set the prototype for `__proto__`.
      Object.defineProperty(object, name, {
        value: this.value(),
        enumerable: true,
        configurable: true,
        writable: true,
      });
      if (!this.accept(',') && this.text[this.at] !== '}') this.fail("expected ',' or '}'");
    }
    return object;
  }

  private list(): unknown[] {
    const list: unknown[] = [];
    this.expect('[');
    while (!this.accept(']')) {
      list.push(this.value());
      if (!this.accept(',') && this.text[this.at] !== ']') this.fail("expected ',' or ']'");
    }
    return list;
  }

  private name(): string {
    this.skipSpace();
    const string = this.match(STRING);
    if (string !== undefined) return unescaped(string);
    return this.match(WORD) ?? this.fail('expected the name of an option');
  }

  private expect(character: string): void {
    if (!this.accept(character)) this.fail(`expected '${character}'`);
  }

  private accept(character: string): boolean {
    this.skipSpace();
    const found = this.text[this.at] === character;
    if (found) this.at++;
    this.skipSpace();
    return found;
  }

  private skipSpace(): void {
    this.match(SPACE);
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const [found] = pattern.exec(this.text) ?? [];
    this.at += found?.length ?? 0;
    return found;
  }

  private fail(problem: string): never {
    const lines = this.text.slice(0, this.at).split('\n');
    throw new LiteralError(`Line ${lines.length}, column ${lines[lines.length - 1].length + 1}: ${problem}`);
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', v: '\v', 0: '\0' };

function unescaped(quoted: string): string {
  return quoted.slice(1, -1).replace(/\\(?:u([\da-f]{4})|x([\da-f]{2})|([\s\S]))/gi, (_, unicode, hex, other) => {
    return other === undefined ? String.fromCharCode(Number.parseInt(unicode ?? hex, 16)) : (ESCAPES[other] ?? other);
  });
}
