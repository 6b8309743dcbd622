import type { ExecutionContext, Type } from '@nestjs/common';
import type { Decision } from '../core/decision.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { invalidOption, isClass } from '../util/option-error.js';
import type { Resolvable, Resolver } from './rate-limit.options.js';

/** Resolves an option for a request; for a rejected request also by its decision. */
export type ResolveFn<T> = (context: ExecutionContext, decision?: Decision) => MaybePromise<T>;

/** Returns the instance of an injectable resolver. */
export type ResolverLookup = <T>(type: Type<Resolver<T>>) => Resolver<T>;

/** A constant, a function or an injectable class as a function. */
export function toResolveFn<T>(option: string, value: Resolvable<T>, resolvers: ResolverLookup): ResolveFn<T> {
  if (typeof value !== 'function') return () => value;
  if (!isResolver(value)) {
    if (isClass(value)) invalidOption(option, 'a function or a class with a `resolve` method', value);
    return value as ResolveFn<T>;
  }
  let instance: { resolve: ResolveFn<T> } | undefined;
  return (context, decision) => {
    instance ??= resolvers(value as Type<Resolver<T>>);
    return instance.resolve(context, decision);
  };
}

/** Whether a value is an injectable class with `resolve`. */
export function isResolver(value: unknown): value is Type<Resolver<unknown>> {
  return typeof value === 'function' && typeof value.prototype?.resolve === 'function';
}
