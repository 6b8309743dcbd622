import { Injectable, Scope, type Type } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { RateLimitOptionError } from '../util/option-error.js';
import type { Resolver } from './rate-limit.options.js';
import type { ResolverLookup } from './resolvable.js';

/** The instances of injectable resolvers, found when the application starts. */
@Injectable()
export class ResolverRegistry {
  private readonly instances = new Map<Type, Resolver<unknown>>();
  private isLoaded = false;

  constructor(private readonly moduleRef: ModuleRef) {}

  /** Finds or creates an instance of each class. Throws a `RateLimitOptionError` if that fails. */
  async load(types: readonly Type[]): Promise<void> {
    for (const type of types) {
      if (!this.instances.has(type)) this.instances.set(type, await this.instantiate(type));
    }
    this.isLoaded = true;
  }

  readonly lookup: ResolverLookup = <T>(type: Type<Resolver<T>>) => {
    if (!this.isLoaded) return undefined;
    const instance = this.instances.get(type) ?? this.moduleRef.get(type, { strict: false });
    return instance as Resolver<T>;
  };

  private async instantiate(type: Type): Promise<Resolver<unknown>> {
    const scope = this.scopeOf(type);
    if (scope === Scope.DEFAULT) return this.moduleRef.get(type, { strict: false });
    if (scope === Scope.TRANSIENT) return this.moduleRef.resolve(type, undefined, { strict: false });
    if (scope === Scope.REQUEST) {
      throw new RateLimitOptionError(
        `Resolver ${type.name} must not be request-scoped or depend on a request-scoped provider, because one instance ` +
          'resolves all requests. Read what differs between requests from the ExecutionContext',
      );
    }
    try {
      return await this.moduleRef.create(type);
    } catch (error) {
      throw new RateLimitOptionError(
        `Resolver ${type.name} must be a provider of a module: ${(error as Error).message}`,
      );
    }
  }

  /** The scope of a provider; `undefined` if no module provides the class. */
  private scopeOf(type: Type): Scope | undefined {
    try {
      return this.moduleRef.introspect(type).scope;
    } catch {
      return undefined;
    }
  }
}
