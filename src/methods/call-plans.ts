import type { Type } from '@nestjs/common';
import { bindInterceptor } from '../guard/rate-limit.interceptor.js';
import { declaredBy, type Handler } from '../policy/explorer.js';
import type { LimitedMethod } from '../policy/limited-method.js';
import type { Plan } from '../policy/plan.js';
import { compilePlan, knownPolicies } from '../policy/plan-compiler.js';
import type { PlanRegistry } from '../policy/plan-registry.js';
import { inputsOfMethod } from '../policy/rate-limit.decorator.js';
import { maySettle } from '../policy/request-policy.js';
import type { RateLimitOptionError } from '../util/option-error.js';
import { returnTypeError } from './return-type.js';

/** The key of a method's only bucket. */
const ONE_BUCKET = 'all';

/** How the calls of a method are limited. */
export interface CallPlan {
  readonly plan: Plan;
  /** Whether the interceptor runs: a policy has `settle` or `onLimited`, or is known only per call. */
  readonly isIntercepted: boolean;
  /** Set if no call can be limited. */
  readonly error: RateLimitOptionError | undefined;
}

/** The plans of limited methods, for their calls that are no requests. */
export class CallPlans {
  /** `undefined` for a method with `@SkipRateLimit`. */
  private readonly byType = new WeakMap<Type, Map<Handler, CallPlan | undefined>>();

  constructor(private readonly registry: Pick<PlanRegistry, 'context'>) {}

  /** The plan of a call, which has been compiled. */
  of(type: Type, wrapper: Handler): Plan | undefined {
    return this.byType.get(type)?.get(wrapper)?.plan;
  }

  /** The plan of the calls on instances of a class. Throws a `RateLimitOptionError` if its limits are invalid. */
  for(type: Type, method: LimitedMethod): CallPlan | undefined {
    const { wrapper } = method;
    const plans = this.byType.get(type) ?? new Map<Handler, CallPlan | undefined>();
    if (plans.has(wrapper)) return plans.get(wrapper);
    const plan = this.compile(type, method);
    this.byType.set(type, plans.set(wrapper, plan));
    return plan;
  }

  private compile(type: Type, method: LimitedMethod): CallPlan | undefined {
    const { prototype, property, wrapper } = method;
    const declaring = prototype.constructor as Type;
    const declared = declaredBy(inputsOfMethod(declaring, property), 'handler');
    if (!declared || declared.inputs.length === 0) return undefined;
    // Each class has buckets of its own for inherited methods; a method that is called by `super` has those of its class.
    const owner = ownerOf(type.prototype, property) === prototype ? type : declaring;
    const { context } = this.registry;
    const plan = compilePlan({ type: owner, property }, declared, {
      ...context,
      key: () => ONE_BUCKET,
      isOfCalls: true,
    });
    const policies = knownPolicies({ declared }, context);
    const isIntercepted = plan.takesSlots || policies.some((policy) => maySettle(policy) || policy?.onLimited);
    if (isIntercepted) bindInterceptor(wrapper);
    return { plan, isIntercepted, error: returnTypeError(method) };
  }
}

/** The prototype that defines a property; `undefined` if none does. */
function ownerOf(prototype: object | null, property: string | symbol): object | undefined {
  if (prototype === null || Object.hasOwn(prototype, property)) return prototype ?? undefined;
  return ownerOf(Object.getPrototypeOf(prototype), property);
}
