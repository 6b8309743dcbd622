import { chargedAmount } from '../core/amount.js';
import type { Policy } from '../core/policy.js';
import type { Plan } from '../policy/plan.js';
import type { RequestTake } from '../policy/request-take.js';
import { formatValue } from '../util/option-error.js';

/** What a handler has reported about the cost of one request: for each take an amount for each limit. */
export class ReportedCosts {
  private readonly amounts = new Map<RequestTake, (number | undefined)[]>();

  constructor(
    private readonly takes: readonly RequestTake[],
    private readonly plan: Plan,
  ) {}

  /** Replaces the amount of all limits with this name, or without a name of those that `total` is about. */
  report(total: number, name: string | undefined): void {
    const amount = chargedAmount(total);
    if (name !== undefined) this.checkName(name);
    const hasCosts = this.takes.some(({ requestPolicy }) => requestPolicy.costs.some(({ isStated }) => isStated));
    for (const take of this.takes) {
      const { policy, requestPolicy } = take;
      const amounts = [...this.of(take)];
      for (const [i, { isStated }] of requestPolicy.costs.entries()) {
        const isMeant = name === undefined ? isStated || !hasCosts : namesOf(policy, i).includes(name);
        if (isMeant) amounts[i] = amount;
      }
      this.amounts.set(take, amounts);
    }
  }

  /** Some policies of the handler may not apply to this request. */
  private checkName(name: string): void {
    const known = this.plan.policies?.flatMap((policy) => policy.limits.flatMap((_, i) => namesOf(policy, i)));
    if (!known || known.includes(name)) return;
    throw new RangeError(`limit must be one of ${[...new Set(known)].join(', ')}, got ${formatValue(name)}`);
  }

  /** The amount of each limit of a take; `undefined` where none was reported. */
  of(take: RequestTake): readonly (number | undefined)[] {
    return this.amounts.get(take) ?? take.policy.limits.map(() => undefined);
  }
}

/** The names by which limit `i` can be reported: its own, its policy's, and both. */
function namesOf({ name, labels, limits }: Policy, i: number): readonly string[] {
  return [limits[i].name, name, labels[i]];
}
