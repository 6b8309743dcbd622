import type { DecisionSource } from './decision.js';
import type { Policy } from './policy.js';
import type { ReplaceStrategy } from './replace.js';

/** What happens to a request when the store cannot answer. */
export type FailureMode = 'local' | 'open' | 'closed';

/** One bucket of a request: so much, from the bucket of this policy for this key. */
export interface Take {
  readonly policy: Policy;
  readonly key: string;
  /** Thousandths of a token; 0 only looks. */
  readonly amount: number;
  /** Longest wait in line that is accepted, ms; 0 for now or never. */
  readonly maxWait: number;
  /** What to do for this take if the store cannot answer, instead of what the store was told. */
  readonly onStoreError?: FailureMode;
}

/**
 * - `take`: from all buckets together or from none, at once or within each one's `maxWait`.
 * - `estimate`: what `take` would answer; nothing changes.
 * - `charge`: takes whatever the balance. `takeUpTo`: takes whole tokens, as many as there are.
 * - `put`: gives back. `cancel`: gives a reservation back (`actAt`, one instant per take).
 * - `reset`: as good as new. `block` (`duration`) and `unblock`.
 * - `replace`: moves the state of the one take's policy to the policy `to`.
 */
export type Verb =
  | 'take'
  | 'estimate'
  | 'charge'
  | 'takeUpTo'
  | 'put'
  | 'cancel'
  | 'reset'
  | 'block'
  | 'unblock'
  | 'replace';

/** What a store is asked to do, at one instant and as a whole. */
export interface StoreRequest {
  readonly verb: Verb;
  /** At least one; all verbs but `take`, `estimate`, `put` and `cancel` have just one. No bucket stands here twice. */
  readonly takes: readonly Take[];
  readonly actAt?: readonly number[];
  /** Where what is given back or charged now was taken: the `source` of that answer. Default the store. */
  readonly source?: DecisionSource;
  readonly duration?: number;
  readonly to?: Policy;
  readonly strategy?: ReplaceStrategy;
}

/** A name that no two buckets share: that of a policy is printable, so it ends where the line does. */
export function bucketName({ policy, key }: Pick<Take, 'policy' | 'key'>): string {
  return `${policy.id}\n${key}`;
}

/** One bucket twice in a request becomes one take of the sum with the lesser patience. */
export function mergeTakes<T extends Take>(takes: readonly T[]): readonly T[] {
  const merged: T[] = [];
  for (const take of takes) {
    const index = merged.findIndex((other) => other.policy.id === take.policy.id && other.key === take.key);
    if (index < 0) merged.push(take);
    else {
      const other = merged[index];
      merged[index] = {
        ...other,
        amount: other.amount + take.amount,
        maxWait: Math.min(other.maxWait, take.maxWait),
      };
    }
  }
  return merged;
}
