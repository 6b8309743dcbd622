/** Levels of nested objects that are compared by value; further ones are compared by identity. */
const MAX_DEPTH = 4;
/** The most characters of a string that its hash depends on. */
const HASHED_LENGTH = 32;

/** A copy of a plain object or array, which objects with equal properties in the same order are equal to. */
export class Snapshot {
  private readonly prototype: unknown;
  private readonly names: readonly string[];
  /** Of the properties; a `Snapshot` for each plain object. */
  private readonly values: readonly unknown[];
  /** The copy. */
  readonly value: object;

  private constructor(value: Readonly<Record<string, unknown>>, depth: number) {
    const names = Object.keys(value);
    const values = names.map((name) => Snapshot.of(value[name], depth - 1) ?? value[name]);
    const copies = values.map((copied) => (copied instanceof Snapshot ? copied.value : copied));
    this.prototype = Object.getPrototypeOf(value);
    this.names = names;
    this.values = values;
    this.value = Array.isArray(value) ? copies : Object.fromEntries(names.map((name, i) => [name, copies[i]]));
  }

  /** A snapshot of `value`; `undefined` unless it is an array, or an object without a class. */
  static of(value: unknown, depth = MAX_DEPTH): Snapshot | undefined {
    return depth > 0 && isPlain(value) ? new Snapshot(value, depth) : undefined;
  }

  equals(other: unknown): boolean {
    if (typeof other !== 'object' || other === null || Object.getPrototypeOf(other) !== this.prototype) return false;
    if (Array.isArray(other)) return this.equalsList(other);
    const { names, values } = this;
    let i = 0;
    for (const name in other) {
      if (name !== names[i] || !isSame(values[i], (other as Record<string, unknown>)[name])) return false;
      i++;
    }
    return i === names.length;
  }

  private equalsList(other: readonly unknown[]): boolean {
    const { values } = this;
    for (let i = 0; i < values.length; i++) if (!isSame(values[i], other[i])) return false;
    return values.length === other.length;
  }
}

function isSame(value: unknown, other: unknown): boolean {
  return value === other || (value instanceof Snapshot && value.equals(other));
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === Array.prototype || prototype === null;
}

/** A number that is the same for equal values, and for all functions. */
export function hashOf(value: unknown, depth = MAX_DEPTH): number {
  if (typeof value === 'number') return (value * 1000) | 0;
  if (typeof value === 'string') return hashOfString(value);
  if (depth === 0 || !isPlain(value)) return 1;
  let hash = 0;
  if (Array.isArray(value)) for (const entry of value) hash = mixed(hash, hashOf(entry, depth - 1));
  else for (const name in value) hash = mixed(hash, hashOf(value[name], depth - 1));
  return hash;
}

function mixed(hash: number, other: number): number {
  return (Math.imul(hash, 31) + other) | 0;
}

function hashOfString(text: string): number {
  const length = Math.min(text.length, HASHED_LENGTH);
  let hash = length;
  for (let i = 0; i < length; i++) hash = mixed(hash, text.charCodeAt(i));
  return hash;
}
