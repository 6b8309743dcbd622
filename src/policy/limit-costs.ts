import type { Limit } from '../core/algorithms/algorithm.js';
import type { Policy } from '../core/policy.js';
import { RateLimitOptionError, withErrorPrefix } from '../util/option-error.js';
import { type OptionContext, parseCost, parseSettle } from './policy-options.js';
import type { RateLimitOptions, RequestLimit, SettleOption } from './rate-limit.options.js';
import type { ResolveFn } from './resolvable.js';

/** What a request takes from one limit, and how that is corrected when it has ended. */
export interface LimitCost {
  /** Thousandths of a token, or a function that returns tokens. */
  readonly cost: number | ResolveFn<unknown>;
  readonly settle: SettleOption | undefined;
  /** Whether the options state either: otherwise the limit counts requests. */
  readonly isStated: boolean;
}

/** The costs of the limits of a policy. */
export interface LimitCosts {
  /** In the order of the policy's limits. */
  readonly costs: readonly LimitCost[];
  /** Whether a limit has a cost or settlement of its own. */
  readonly hasOwnCosts: boolean;
  /** Whether any cost may be corrected. */
  readonly isSettled: boolean;
}

/** The limits that the `cost` of the policy applies to: those without one of their own. */
export function limitsOfCost({ limits }: RateLimitOptions, policy: Policy): readonly Limit[] {
  return policy.limits.filter(({ entry = 0 }) => limits?.[entry].cost === undefined);
}

/** Parses the costs of `limits`; `ofPolicy` is that of limits without one of their own. */
export function parseLimitCosts(options: RateLimitOptions, context: OptionContext, ofPolicy: LimitCost): LimitCosts {
  const { limits } = context.policy;
  const costs = limits.map((limit): LimitCost => {
    const { entry = 0 } = limit;
    const own = options.limits?.[entry];
    if (!own || !hasCost(own)) return ofPolicy;
    return withErrorPrefix(`limits[${entry}]`, () => {
      if (limit.kind === 'concurrency') rejectCost(own);
      return parseLimitCost(own, { ...context, limits: [limit] }, ofPolicy);
    });
  });
  const hasOwnCosts = costs.some((cost) => cost !== ofPolicy);
  if (hasOwnCosts && context.policy.lease > 0) {
    throw new RateLimitOptionError('`lease` must be omitted if a limit has a `cost` or `settle` of its own');
  }
  return { costs, hasOwnCosts, isSettled: costs.some(({ settle }) => settle !== undefined) };
}

function parseLimitCost({ cost, settle }: RequestLimit, context: OptionContext, ofPolicy: LimitCost): LimitCost {
  // What a function of the policy returns is measured like the policy's cost.
  const inherited = cost !== undefined && typeof ofPolicy.settle === 'function' ? undefined : ofPolicy.settle;
  return {
    cost: cost === undefined ? ofPolicy.cost : parseCost(cost, context),
    settle: settle === undefined ? inherited : parseSettle(settle, context),
    isStated: true,
  };
}

function rejectCost({ cost }: RequestLimit): never {
  const option = cost === undefined ? 'settle' : 'cost';
  throw new RateLimitOptionError(`\`${option}\` must be omitted for a concurrency limit: a request takes one slot`);
}

/** Whether options state a cost. */
export function hasCost({ cost, settle }: Pick<RequestLimit, 'cost' | 'settle'>): boolean {
  return cost !== undefined || settle !== undefined;
}
