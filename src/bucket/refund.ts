import { toDecision } from '../core/answer.js';
import type { Decision, StoreAnswer } from '../core/decision.js';
import type { Policy } from '../core/policy.js';
import type { StoreRequest, Take } from '../core/request.js';

/** What a decision took, and when each of its takes acts. */
interface Taken {
  readonly takes: readonly Take[];
  readonly actAt: readonly number[];
}

/**
 * What the decisions took that a sliding window has admitted. A refund must name the instant of the admission; for a
 * bucket the decision's `source` suffices, so those decisions are not kept.
 */
const admitted = new WeakMap<Decision, Taken>();

/** The decision of an answer, which `put` can refund. */
export function refundableDecision(answer: StoreAnswer, takes: readonly Take[]): Decision {
  const decision = toDecision(answer);
  const actAt = actTimes(answer);
  if (!answer.allowed || !actAt || !takes.some(({ policy }) => hasWindow(policy))) return decision;
  admitted.set(decision, { takes, actAt: takes.map((_, i) => actAt[i] ?? actAt[0]) });
  return decision;
}

/** When the takes of an answer act, for their refund or cancellation. */
export function actTimes({ actAt, takenAt }: StoreAnswer): readonly number[] | undefined {
  return actAt ?? (takenAt === undefined ? undefined : [takenAt]);
}

/** What a `put` needs to refund what `decision` took from a bucket. Throws a `RangeError` if it took nothing from it. */
export function refundOf(decision: Decision, policy: Policy, key: string): Pick<StoreRequest, 'source' | 'actAt'> {
  const { allowed, limits, source } = decision;
  if (!allowed) throw new RangeError('`decision` must be one that admitted, got a denied one, which took nothing');
  if (!policy.labels.every((label) => limits.some(({ name }) => name === label))) {
    throw new RangeError(`\`decision\` must be one of policy ${policy.name}, got one of policy ${decision.policy}`);
  }
  if (!hasWindow(policy)) return { source };
  const taken = admitted.get(decision);
  const index = taken?.takes.findIndex((take) => take.policy.id === policy.id && take.key === key) ?? -1;
  if (!taken || index < 0) {
    throw new RangeError('`decision` must be what `decide`, `consume`, `charge` or `decideAll` returned for this key');
  }
  return { source, actAt: [taken.actAt[index]] };
}

function hasWindow({ limits }: Policy): boolean {
  return limits.some(({ kind }) => kind === 'window');
}
