import { Injectable, Scope, type Type } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { RateLimitOptionError } from '../util/option-error.js';
import type { Resolver } from './rate-limit.options.js';
import type { Instances } from './request-policy.js';

/** Instances of injectable resolvers, found when the application starts. */
@Injectable()
export class ResolverInstances {
  private readonly found = new Map<Type, Resolver<unknown>>();

  constructor(private readonly moduleRef: ModuleRef) {}

  async find(types: readonly Type[]): Promise<void> {
    for (const type of types) {
      if (!this.found.has(type)) this.found.set(type, await this.findOne(type));
    }
  }

  readonly of: Instances = <T>(type: Type<Resolver<T>>) => {
    const instance = this.found.get(type) ?? this.moduleRef.get(type, { strict: false });
    return instance as Resolver<T>;
  };

  private async findOne(type: Type): Promise<Resolver<unknown>> {
    const scope = this.scopeOf(type);
    if (scope === Scope.DEFAULT) return this.moduleRef.get(type, { strict: false });
    if (scope === Scope.REQUEST) {
      throw new RateLimitOptionError(
        `${type.name} must not be request-scoped, nor need anything that is: it is made once, and given each request`,
      );
    }
    try {
      return await this.moduleRef.create(type);
    } catch (error) {
      throw new RateLimitOptionError(
        `${type.name} must be a provider of a module, so that it can be asked: ${(error as Error).message}`,
      );
    }
  }

  /** `undefined` if nobody provides it. */
  private scopeOf(type: Type): Scope | undefined {
    try {
      return this.moduleRef.introspect(type).scope;
    } catch {
      return undefined;
    }
  }
}
