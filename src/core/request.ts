import type { ReplaceStrategy } from './algorithms/algorithm.js';
import type { DecisionSource } from './decision.js';
import type { Policy } from './policy.js';
import type { SlotHolder } from './slot-holder.js';

/**
 * How requests are decided while the store is unavailable: `'local'` by limits in this process, `'open'` admits all of
 * them, `'closed'` fails them with 503.
 */
export type FailureMode = 'local' | 'open' | 'closed';

export const FAILURE_MODES: readonly FailureMode[] = ['local', 'open', 'closed'];

/** One bucket of a request: how much to take, from the bucket of this policy for this key. */
export interface Take {
  readonly policy: Policy;
  readonly key: string;
  /** Thousandths of a token; 0 takes nothing and only reports the balance. */
  readonly amount: number;
  /**
   * Thousandths of a token for each limit of the policy, if they differ; `amount` is then the largest of them. A limit
   * with an amount of 0 does not take part in the decision, unless `checks` is `true` for it.
   */
  readonly amounts?: readonly number[];
  /** Beside `amounts`: which limits deny an amount of 0, too, while less than a thousandth of a token is left. */
  readonly checks?: readonly boolean[];
  /** The longest accepted wait in the queue, ms; 0 rejects instead of queueing. */
  readonly maxWait: number;
  /**
   * Makes a take refundable: a whole number that no other take of this bucket has. A later `put` with the same `mark`
   * refunds this take and no other, at most once; any other verb that takes or cancels ends this.
   */
  readonly mark?: number;
  /** The process that takes a slot, or reports the slots that it holds; only for a policy with a concurrency limit. */
  readonly holder?: SlotHolder;
  /** The failure mode of this take, instead of the store's. */
  readonly onStoreError?: FailureMode;
}

/** How much a request takes from each limit of a policy. */
export type Amounts = Pick<Take, 'amount' | 'amounts' | 'checks'>;

/** The amount for limit `i`. */
export function amountFor({ amount, amounts }: Amounts, i: number): number {
  return amounts === undefined ? amount : amounts[i];
}

/** The amount that limit `i` must have; 0 if the limit does not take part in the decision. */
export function neededFrom({ amount, amounts, checks }: Amounts, i: number): number {
  if (amounts === undefined) return amount;
  return amounts[i] === 0 && checks?.[i] ? 1 : amounts[i];
}

/**
 * - `take`: takes from all buckets or from none, immediately or within each take's `maxWait`.
 * - `estimate`: returns the answer that `take` would return, and changes nothing.
 * - `charge`: takes regardless of the balance, which may become negative. With a `mark`, that take is not refunded.
 * - `takeUpTo`: takes as many whole tokens as are available, at most the amount.
 * - `put`: refunds the amount. With a `mark`, it refunds that take, as far as it still counts.
 * - `cancel`: cancels the reservation that would have acted at `actAt`.
 * - `reset`: makes the bucket full and unblocked.
 * - `block`, `unblock`: blocks the bucket for at least `duration`, or unblocks it.
 * - `hold`: sets how many slots the take's `holder` holds, and whether it waits for one.
 * - `replace`: moves the state of the only take's policy to the policy `to`.
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
  | 'hold'
  | 'replace';

/** One atomic operation of a store. */
export interface StoreRequest {
  readonly verb: Verb;
  /** At least one; exactly one for all verbs but `take`, `estimate`, `put` and `cancel`. No bucket appears twice. */
  readonly takes: readonly Take[];
  /** For `cancel`: the `actAt` of the answer that made the reservation. For `put`: when the refunded takes acted. */
  readonly actAt?: readonly number[];
  /** The `source` of the answer whose tokens are refunded or charged; default `'store'`. */
  readonly source?: DecisionSource;
  /**
   * For an effect, such as a `put` of one take: what the module does if it fails. `true`: it repeats the request until
   * the store has applied it or it no longer matters, and resolves with an answer that means nothing. Otherwise it
   * rejects; a `charge` or `block` whose outcome is unknown is repeated, too, unless this is `false`. Stores ignore it.
   */
  readonly retry?: boolean;
  /** For `block`, ms. */
  readonly duration?: number;
  /** For `replace`, like `strategy`. */
  readonly to?: Policy;
  readonly strategy?: ReplaceStrategy;
}

/** A name that no two buckets share: the policy's name is printable ASCII, so it ends at the line break. */
export function bucketName({ policy, key }: Pick<Take, 'policy' | 'key'>): string {
  return `${policy.id}\n${key}`;
}

/** A name for the messages to one of the processes that await slots of a bucket. */
export function holderName(bucket: Pick<Take, 'policy' | 'key'>, holder: number): string {
  return `${bucketName(bucket)}\n${holder}`;
}

/** Merges takes from the same bucket into one with the sum of their amounts and the shortest `maxWait`. */
export function mergeTakes<T extends Take>(takes: readonly T[]): readonly T[] {
  const merged: T[] = [];
  for (const take of takes) {
    const index = merged.findIndex((other) => other.policy.id === take.policy.id && other.key === take.key);
    if (index < 0) merged.push(take);
    else merged[index] = { ...merged[index], ...sum(merged[index], take) };
  }
  return merged;
}

function sum(one: Take, other: Take): Amounts & Pick<Take, 'maxWait'> {
  const maxWait = Math.min(one.maxWait, other.maxWait);
  if (!one.amounts && !other.amounts) return { amount: one.amount + other.amount, maxWait };
  const { limits } = one.policy;
  const amounts = limits.map((_, i) => amountFor(one, i) + amountFor(other, i));
  const checks = limits.map((_, i) => (one.checks?.[i] || other.checks?.[i]) ?? false);
  return { amount: Math.max(...amounts), amounts, checks: checks.includes(true) ? checks : undefined, maxWait };
}
