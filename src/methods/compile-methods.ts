import type { ExploredClass } from '../policy/explorer.js';
import { limitedMethodsOf } from '../policy/limited-method.js';
import { hasRoute, isRouted } from '../policy/routing.js';
import type { CallPlans } from './call-plans.js';

/**
 * Compiles the plans of all limited methods that may be called otherwise than by Nest's routes. Throws a
 * `RateLimitOptionError` if one is invalid.
 */
export function compileMethods(classes: readonly ExploredClass[], plans: CallPlans): void {
  for (const explored of classes) {
    const { type, methods } = explored;
    for (const limited of limitedMethodsOf(type.prototype)) {
      const found = methods.find(({ property }) => property === limited.property);
      if (hasRoute(limited.wrapper) || (found && hasRoute(found.method))) continue;
      const error = plans.for(type, limited)?.error;
      // Another library may route requests to it.
      if (error && !(found && isRouted(explored, found))) throw error;
    }
  }
}
