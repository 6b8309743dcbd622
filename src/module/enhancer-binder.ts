import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import { observeCalls } from '../guard/handler-calls.js';
import { RateLimitGuard } from '../guard/rate-limit.guard.js';
import { bindAnswerObserver, bindInterceptor } from '../guard/rate-limit.interceptor.js';
import { type ExploredMethod, Explorer } from '../policy/explorer.js';
import { parametersOf } from '../policy/handler-parameters.js';
import { PARSED_OPTIONS, type ParsedModuleOptions } from '../policy/parsed-options.js';
import { appliedLimits, knownPolicies } from '../policy/plan-compiler.js';
import { maySettle, mayTakeSlot } from '../policy/request-policy.js';
import { bindToGateway, bindToStreamCall, RejectionFilter } from '../transport/rejection.filter.js';
import { completeRejections } from '../transport/rejection-replies.js';
import { bindToMessages } from './message-guard.js';

/** Metadata key of the HTTP method of a route. */
const HTTP_METHOD = 'method';

/**
 * Binds what Nest runs besides the global guard: an interceptor to the handlers that need one (it would slow down the
 * others), a filter for rejections that the user's code throws, behind all of the user's filters, and the guard to
 * handlers that Nest may run without global guards. It does so while the application is created: all decorators and
 * options are known by then, and Nest reads the bindings later.
 */
@Injectable()
export class EnhancerBinder implements OnModuleInit {
  constructor(
    explorer: Explorer,
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
    private readonly adapterHost: HttpAdapterHost,
    config: ApplicationConfig,
    modules: ModulesContainer,
    guard: RateLimitGuard,
  ) {
    // Nest tries the last global filter first, and adds the user's after this one.
    config.addGlobalFilter(new RejectionFilter(adapterHost));
    for (const { type, methods } of explorer.classes) {
      bindToGateway(type);
      for (const explored of methods) {
        this.bindInterceptors(explored);
        bindToStreamCall(explored.method);
      }
    }
    for (const { type, methods } of explorer.classes) {
      for (const explored of methods) if (this.mayHoldSlots(explored)) observeCalls(type, explored.property);
    }
    if (options.guard) bindToMessages(guard, modules, explorer, (each) => !!appliedLimits(each, options.default));
  }

  /** The adapter of an application in a test is known only now; an application without HTTP has none. */
  onModuleInit(): void {
    const { httpAdapter } = this.adapterHost;
    if (httpAdapter) completeRejections(httpAdapter, this.options.problemDetails);
  }

  /** Nothing for handlers without injected parameters or settled costs whose rejections `onLimited` never answers. */
  private bindInterceptors(explored: ExploredMethod): void {
    if (!explored.isDecorated) return;
    // A policy that is known only per request may have both.
    const policies = knownPolicies(explored, this.options);
    const parameters = policies.length > 0 ? parametersOf(explored.type.prototype, explored.property) : [];
    const isSettled = parameters.includes('cost') || policies.some(maySettle);
    const mayReplace = policies.some((policy) => policy?.onLimited || this.options.onLimited);
    const mayHold = this.mayHoldSlots(explored);
    if (isSettled || mayReplace || mayHold || parameters.length > 0) bindInterceptor(explored.method);
    // The answer over HTTP is the response, which is observed anyway.
    if ((isSettled || mayHold) && !Reflect.hasMetadata(HTTP_METHOD, explored.method)) bindAnswerObserver(explored.type);
  }

  /** Whether requests to a handler may hold slots of a concurrency limit, so that the end of the handler is observed. */
  private mayHoldSlots(explored: ExploredMethod): boolean {
    return explored.isDecorated && knownPolicies(explored, this.options).some(mayTakeSlot);
  }
}
