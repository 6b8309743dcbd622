import { toDecision } from '../core/answer.js';
import type { Decision, StoreAnswer } from '../core/decision.js';
import type { Policy } from '../core/policy.js';
import type { StoreRequest, Take } from '../core/request.js';
import { actTimes } from '../stores/undo-takes.js';

/** Returns its argument, which the constructor of a subclass then adds private fields to. */
class Given {
  constructor(decision: Decision) {
    // biome-ignore lint/correctness/noConstructorReturn: the object to extend
    return decision;
  }
}

/**
 * A decision whose takes a sliding window or a calendar quota has admitted: a refund must name the instant of the
 * admission. For a bucket the decision's `source` suffices. Private fields are invisible, and cost a fraction of an
 * entry in a `WeakMap`.
 */
class AdmittedDecision extends Given {
  readonly #takes: readonly Take[];
  readonly #answer: StoreAnswer;

  constructor(decision: Decision, takes: readonly Take[], answer: StoreAnswer) {
    super(decision);
    this.#takes = takes;
    this.#answer = answer;
  }

  /** When the take of this bucket acted; `undefined` if the decision did not take from it. */
  static actAt(decision: object, policy: Policy, key: string): number | undefined {
    if (!(#takes in decision)) return undefined;
    const index = decision.#takes.findIndex((take) => take.policy.id === policy.id && take.key === key);
    const actAt = actTimes(decision.#answer);
    return index < 0 ? undefined : (actAt?.[index] ?? actAt?.[0]);
  }
}

/** The decision of an answer, which `put` can refund. */
export function refundableDecision(answer: StoreAnswer, takes: readonly Take[]): Decision {
  const decision = toDecision(answer);
  if (answer.allowed && answer.takenAt !== undefined) new AdmittedDecision(decision, takes, answer);
  return decision;
}

/** What a `put` needs to refund what `decision` took from a bucket. Throws a `RangeError` if it took nothing from it. */
export function refundOf(decision: Decision, policy: Policy, key: string): Pick<StoreRequest, 'source' | 'actAt'> {
  const { allowed, limits, source } = decision;
  if (!allowed) throw new RangeError('`decision` must be one that admitted, got a denied one, which took nothing');
  if (!policy.labels.every((label) => limits.some(({ name }) => name === label))) {
    throw new RangeError(`\`decision\` must be one of policy ${policy.name}, got one of policy ${decision.policy}`);
  }
  if (!policy.limits.some(({ algorithm }) => algorithm.needsTakenAt)) return { source };
  const actAt = AdmittedDecision.actAt(decision, policy, key);
  if (actAt !== undefined) return { source, actAt: [actAt] };
  throw new RangeError('`decision` must be what `decide`, `consume`, `charge` or `decideAll` returned for this key');
}
