import type { ExecutionContext, Type } from '@nestjs/common';
import type { Decision } from '../core/decision.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { invalidOption, isClass } from '../util/option-error.js';
import type { Resolvable, Resolver } from './rate-limit.options.js';

/** Resolves an option for a request; for a rejected request also by its decision. */
export type ResolveFn<T> = (context: ExecutionContext, decision?: Decision) => MaybePromise<T>;

/** Returns the instance of an injectable resolver; `undefined` while the application is created. */
export type ResolverLookup = <T>(type: Type<Resolver<T>>) => Resolver<T> | undefined;

/**
 * A constant, a function or an injectable class as a function. Whether an instance of the class has `resolve` is checked
 * as soon as there is one: the class itself may be abstract, or define `resolve` as a property.
 */
export function toResolveFn<T>(option: string, value: Resolvable<T>, resolvers: ResolverLookup): ResolveFn<T> {
  if (typeof value !== 'function') return () => value;
  if (!isResolver(value)) return value as ResolveFn<T>;
  const find = (): { resolve: ResolveFn<T> } | undefined => {
    const found = resolvers(value as Type<Resolver<T>>);
    if (!found || typeof found.resolve === 'function') return found;
    return invalidOption(option, 'a function or a class with a `resolve` method', value);
  };
  let instance = find();
  return (context, decision) => {
    instance ??= find() as { resolve: ResolveFn<T> };
    return instance.resolve(context, decision);
  };
}

/** Whether a value is a class, and not a function: the token of an injectable resolver. */
export function isResolver(value: unknown): value is Type<Resolver<unknown>> {
  return isClass(value) || (typeof value === 'function' && typeof value.prototype?.resolve === 'function');
}
