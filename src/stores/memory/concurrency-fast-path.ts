import { RETRY_HINT } from '../../core/algorithms/concurrency.js';
import type { Holder, Holders } from '../../core/algorithms/holders.js';
import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import type { AnsweredLimit } from '../../core/answer.js';
import type { DecisionSource, StoreAnswer } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import type { Take } from '../../core/request.js';
import type { SlotHolder } from '../../core/slot-holder.js';

/*
 * `execute` for nearly every request for slots of this process: of one concurrency limit, from an unblocked bucket in the
 * table that no other process uses, and whose queue is empty. Entries are changed in place. As in `fast-path.ts`, the
 * functions return `undefined`, and have changed nothing, if the request is not that simple.
 */

/** The answer of a policy with a concurrency limit alone. Its values are computed when they are read. */
class SlotAnswer implements StoreAnswer, AnsweredLimit {
  constructor(
    private readonly own: Policy,
    private readonly count: number,
    private readonly isLasting: boolean | undefined,
    readonly allowed: boolean,
    readonly taken: number,
    readonly source: DecisionSource,
  ) {}

  get delay(): number {
    return 0;
  }

  get actAt(): undefined {
    return undefined;
  }

  get policy(): string {
    return this.own.name;
  }

  get name(): string {
    return this.own.name;
  }

  get limits(): readonly AnsweredLimit[] {
    return [this];
  }

  get limit(): number {
    return this.own.limits[0].size;
  }

  get balance(): number {
    return this.limit - this.count;
  }

  get remaining(): number {
    return Math.max(0, this.balance);
  }

  get retryAfter(): number {
    return this.taken > 0 ? 0 : this.moreAfter;
  }

  get resetAfter(): number {
    if (this.count === 0) return 0;
    return this.isLasting ? Infinity : this.own.limits[0].period;
  }

  get moreAfter(): number {
    return this.balance > 0 ? 0 : RETRY_HINT;
  }
}

/** Takes a slot. */
export function takeOneSlot(
  { policy, holder, amount, maxWait }: Take,
  holders: Holders,
  cells: Float64Array,
  start: number,
  now: number,
  source: DecisionSource,
): StoreAnswer | undefined {
  if (!holder || cells[start] > now) return undefined;
  if (holder.waited !== undefined || holder.nextWaited !== undefined || holder.sequence !== undefined) return undefined;
  const [limit] = policy.limits;
  const { isLasting } = holder;
  let own: Holder | undefined;
  if (holders.list.length > 0) {
    own = onlyHolder(holders, holder, now);
    if (!own) return undefined;
    if (own.count >= limit.size) {
      return maxWait > 0 || !isLasting ? undefined : new SlotAnswer(policy, own.count, true, false, 0, source);
    }
  }
  const expiry = isLasting ? Infinity : now + limit.period;
  if (own) {
    own.count++;
    own.expiry = expiry;
  } else {
    own = { id: holder.id, count: 1, expiry, sequence: 0, since: 0, waitsUntil: 0 };
    holders.list = [own];
  }
  cells[start] = now;
  return new SlotAnswer(policy, own.count, isLasting, true, amount / AMOUNT_PER_TOKEN, source);
}

/** Sets the slots that a holder in this process holds. They do not expire, so the time does not matter. */
export function reportToOneLimit(
  { policy, holder }: Take,
  holders: Holders,
  cells: Float64Array,
  start: number,
  source: DecisionSource,
): StoreAnswer | undefined {
  if (!holder?.isLasting || holder.count === undefined || holder.waited !== undefined) return undefined;
  const { count, sequence = 0 } = holder;
  const own = onlyHolder(holders, holder, cells[start]);
  if (!own || sequence < own.sequence) return undefined;
  own.count = count;
  // An entry without slots means nothing. It is used again, or dropped by the next request that is not so simple.
  own.sequence = count === 0 ? 0 : sequence;
  own.expiry = count === 0 ? 0 : Infinity;
  return new SlotAnswer(policy, count, true, true, 0, source);
}

/** The entry of `holder` if there is no other one, and if it does not wait. */
function onlyHolder({ list }: Holders, holder: SlotHolder, now: number): Holder | undefined {
  if (list.length !== 1) return undefined;
  const [own] = list;
  return own.id === holder.id && own.since === 0 && (own.expiry > now || own.count === 0) ? own : undefined;
}
