import { Inject, Injectable, type OnModuleDestroy, type OnModuleInit, type Type } from '@nestjs/common';
import { DiscoveryService, HttpAdapterHost } from '@nestjs/core';
import { RateLimitGuard } from '../guard/rate-limit.guard.js';
import { callIntercepted } from '../guard/rate-limit.interceptor.js';
import { WaitQueue } from '../guard/wait-queue.js';
import type { LimitedMethod } from '../policy/limited-method.js';
import { PARSED_OPTIONS, type ParsedModuleOptions } from '../policy/parsed-options.js';
import { PlanRegistry } from '../policy/plan-registry.js';
import { RateLimitStore } from '../stores/rate-limit.store.js';
import { isPromise } from '../util/maybe-promise.js';
import { bindFactories, bindInstances, checkVisible } from './bind-instances.js';
import { CallContext } from './call-context.js';
import { type CallPlan, CallPlans } from './call-plans.js';
import { compileMethods } from './compile-methods.js';
import { MethodRuntime } from './method-runtime.js';

/**
 * Limits the calls of methods that Nest does not route, with a guard of their own: requests of clients and calls of the
 * application's own code have different defaults.
 */
@Injectable()
export class CallLimiter implements OnModuleInit, OnModuleDestroy {
  private readonly plans: CallPlans;
  private readonly guard: RateLimitGuard;
  private readonly wrappers: readonly unknown[];

  constructor(
    private readonly registry: PlanRegistry,
    private readonly runtime: MethodRuntime,
    discovery: DiscoveryService,
    store: RateLimitStore,
    @Inject(PARSED_OPTIONS) options: ParsedModuleOptions,
    adapterHost: HttpAdapterHost,
    queue: WaitQueue,
  ) {
    this.plans = new CallPlans(registry);
    const ofCalls = { ...options, skip: undefined, onLimited: undefined };
    this.guard = new RateLimitGuard(this.plans, store, ofCalls, adapterHost, queue);
    this.wrappers = [...discovery.getProviders(), ...discovery.getControllers()];
    bindFactories(this.wrappers, runtime);
    bindInstances(this.wrappers, runtime);
  }

  /** Compiles the plans of all limited methods, so that an invalid one stops the start, and admits the first calls. */
  async onModuleInit(): Promise<void> {
    try {
      bindInstances(this.wrappers, this.runtime);
      checkVisible(this.wrappers, this.runtime);
      await this.registry.ready();
      compileMethods(this.registry.classes, this.plans);
      this.runtime.start(this);
    } catch (error) {
      this.runtime.fail(error);
      throw error;
    }
  }

  onModuleDestroy(): Promise<void> {
    this.runtime.isClosed = true;
    return this.guard.onModuleDestroy();
  }

  /** Calls a method when its limits admit the call. A call that is no longer limited is synchronous. */
  call(method: LimitedMethod, instance: object, args: unknown[]): unknown {
    const type = instance.constructor as Type;
    const plan = this.registry.isGuarded(type, method.property) ? undefined : this.plans.for(type, method);
    if (!plan) return method.original.apply(instance, args);
    if (plan.error) throw plan.error;
    const context = new CallContext(type, method.wrapper, args);
    return this.callLimited(context, plan, () => method.original.apply(instance, args));
  }

  private async callLimited(context: CallContext, { isIntercepted }: CallPlan, call: () => unknown): Promise<unknown> {
    const admitted = this.guard.canActivate(context);
    if (isPromise(admitted)) await admitted;
    return isIntercepted ? callIntercepted(context, call) : call();
  }
}
