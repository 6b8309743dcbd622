import type { ExecutionContext, Type } from '@nestjs/common';
import { MetadataScanner } from '@nestjs/core';

export type Handler = ReturnType<ExecutionContext['getHandler']>;

/** The classes of controllers or providers that Nest has found, each once. */
export function classesOf(found: readonly { readonly metatype: unknown }[]): Set<Type> {
  return new Set(found.map(({ metatype }) => metatype).filter(isClass));
}

function isClass(type: unknown): type is Type {
  return typeof type === 'function' && typeof type.prototype === 'object' && type.prototype !== null;
}

/** All methods of a class, and what it calls them; a function has another name where another decorator wrapped it. */
export function methodsOf({ prototype }: Type): (readonly [name: string, method: Handler])[] {
  return new MetadataScanner().getAllMethodNames(prototype).map((name) => [name, prototype[name]]);
}
