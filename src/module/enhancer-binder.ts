import { Inject, Injectable, type Type } from '@nestjs/common';
import { ApplicationConfig, DiscoveryService, HttpAdapterHost } from '@nestjs/core';
import { bindInterceptor } from '../guard/rate-limit.interceptor.js';
import { classesOf, type Handler, methodsOf } from '../policy/explorer.js';
import { knownPolicies } from '../policy/plan.js';
import { PARSED_OPTIONS } from '../policy/plan-registry.js';
import { bindToGateway, RefusalFilter } from '../transport/rejection.filter.js';
import type { ParsedModuleOptions } from './module-options.js';

/**
 * Binds what else Nest runs: an interceptor to the handlers that need one, and to no other, because it would cost each
 * of their requests; and a filter for refusals that the user's own code throws, behind all of the user's filters. It is
 * done when the application is made: all decorators and options are known by then, and Nest looks for them later.
 */
@Injectable()
export class Enhancers {
  constructor(
    discovery: DiscoveryService,
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
    adapterHost: HttpAdapterHost,
    config: ApplicationConfig,
  ) {
    // Of global filters Nest asks the last first, and adds the user's after this one.
    config.addGlobalFilter(new RefusalFilter(adapterHost, options.problemDetails));
    for (const type of classesOf([...discovery.getControllers(), ...discovery.getProviders()])) {
      bindToGateway(type);
      for (const [, method] of methodsOf(type)) if (this.mayNeedInterceptor(type, method)) bindInterceptor(method);
    }
  }

  /** Whether costs may have to be settled there, or refusals be answered by something else. */
  private mayNeedInterceptor(type: Type, handler: Handler): boolean {
    // All handlers are decorated, whatever they handle.
    if (Reflect.getMetadataKeys(handler).length === 0) return false;
    return knownPolicies(type, handler, this.options).some(
      (policy) => !policy || policy.settle || policy.onLimited || this.options.onLimited,
    );
  }
}
