import { Inject, Injectable, type Type } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import type { ParsedModuleOptions } from '../module/module-options.js';
import { classesOf, type Handler, methodsOf } from '../policy/explorer.js';
import { knownPolicies } from '../policy/plan.js';
import { PARSED_OPTIONS } from '../policy/plan-registry.js';
import { type ApiRateLimitOptions, DOCUMENTED } from './api-rate-limit.js';
import { documentClass, documentHandler, isDocumented } from './metadata.js';
import { responseOf } from './response.js';

/**
 * Documents the refusals of all limited handlers of controllers, for `@nestjs/swagger`, where the user has not. It is
 * done when the application is made: only then all decorators and options are known, and documents are made later.
 */
@Injectable()
export class Documentation {
  constructor(
    discovery: DiscoveryService,
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
  ) {
    for (const type of classesOf(discovery.getControllers())) this.document(type);
  }

  private document(type: Type): void {
    if (isDocumented(type)) return;
    const handlers = methodsOf(type).filter(([, method]) => Reflect.hasMetadata('path', method));
    const responses = handlers.map(([, handler]) => this.responseOf(type, handler));
    const kinds = new Set(responses.map((response) => JSON.stringify(response)));
    // Where all are alike the class says it, and nothing is written at functions that other classes may inherit.
    const common = kinds.size === 1 ? responses[0] : undefined;
    documentClass(type, common);
    for (const [i, [name, handler]] of handlers.entries()) {
      if (isDocumented(handler)) continue;
      documentHandler(type, name, common ? undefined : responses[i]);
    }
  }

  /** The refusal of a handler; `undefined` if it never refuses, or shall not tell. */
  private responseOf(type: Type, handler: Handler): object | undefined {
    const asked: ApiRateLimitOptions | false | undefined =
      Reflect.getMetadata(DOCUMENTED, handler) ?? Reflect.getMetadata(DOCUMENTED, type);
    // Those that may refuse.
    const policies = knownPolicies(type, handler, this.options).filter(
      (policy) => !policy?.dryRun && policy?.skip !== true,
    );
    if (asked === false || (!asked && policies.length === 0)) return undefined;
    const { headers, problemDetails } = this.options;
    const messages = policies.map((policy) => policy?.message ?? this.options.message);
    const refusal = { headers: policies.length > 0 ? headers : undefined, problemDetails, messages };
    return responseOf(refusal, asked ?? {});
  }
}
