type AnyClass = abstract new (...args: never[]) => object;

/**
 * Lets `instanceof` recognize instances that another copy of the package created; a process may have several, one in the
 * dependencies of a library, or one ES module and one CommonJS module. A class with a `version` recognizes only those of
 * the same version.
 */
export function brand(type: AnyClass, name: string, version?: string): void {
  const value = version ?? true;
  Object.defineProperty(type.prototype, brandKey(name), { value });
  Object.defineProperty(type, Symbol.hasInstance, {
    value(this: unknown, instance: unknown): boolean {
      if (this === type) return brandOf(instance, name) === value;
      return Function.prototype[Symbol.hasInstance].call(this, instance);
    },
  });
}

/** The version of the class with this brand, or `true`; `undefined` if a value is no instance of it. */
export function brandOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<symbol, unknown>)[brandKey(name)] : undefined;
}

function brandKey(name: string): symbol {
  return Symbol.for(`nest-rate-limit:${name}`);
}
