import type { Limit } from './algorithms/algorithm.js';
import { isSoft } from './algorithms/soft.js';
import { AMOUNT_PER_TOKEN } from './amount.js';
import { BucketAnswer } from './bucket-answer.js';
import type { Decision, DecisionSource, LimitState, StoreAnswer } from './decision.js';
import type { Take } from './request.js';

/*
 * The answer as a row of numbers, as `execute` and its Lua twin write it:
 *   allowed (0 or 1), delay, amount taken, the store's now,
 *   then for each take: its own wait if all are allowed; if they are denied, how long its bucket is blocked, or else how
 *   long nothing is available from it;
 *   and for each of its limits: balance in units, retryAfter, resetAfter, moreAfter.
 * Times are ms, -1 for never.
 */
export type Row = { [index: number]: number };
export const ROW_HEAD = 4;
export const ROW_LIMIT = 4;
export const NEVER = -1;

/** The length of the row for `takes`. */
export function rowLength(takes: readonly Take[]): number {
  return takes.reduce((length, take) => length + 1 + ROW_LIMIT * take.policy.limits.length, ROW_HEAD);
}

/** The state of a limit, with its balance, which `remaining` hides when it is negative. */
export interface AnsweredLimit extends LimitState {
  readonly balance: number;
  /** The rest of a block, or else the ms for which nothing is available whatever the balance; absent if none. */
  readonly heldFor?: number;
}

/** The state of one limit after a request. `balance` is in units; times are ms. */
export function limitState(
  name: string,
  { size, weight }: Limit,
  units: number,
  retryAfter: number,
  resetAfter: number,
  moreAfter: number,
): AnsweredLimit {
  const balance = units / (weight * AMOUNT_PER_TOKEN);
  return { name, limit: size, balance, remaining: balance > 0 ? balance : 0, retryAfter, resetAfter, moreAfter };
}

/** An answer that is computed from the states of its limits when a property is read. */
export class Answer implements StoreAnswer {
  constructor(
    readonly allowed: boolean,
    readonly limits: readonly AnsweredLimit[],
    readonly taken: number,
    readonly source: DecisionSource,
    readonly takenAt: number | undefined = undefined,
    readonly delay = 0,
    readonly actAt: readonly number[] | undefined = undefined,
  ) {}

  get policy(): string {
    const { longest } = this;
    return (longest.retryAfter > 0 ? longest : this.nearest).name;
  }

  get limit(): number {
    return this.nearest.limit;
  }

  get remaining(): number {
    return this.nearest.remaining;
  }

  get balance(): number {
    return this.nearest.balance;
  }

  get retryAfter(): number {
    return this.longest.retryAfter;
  }

  get resetAfter(): number {
    const { limits } = this;
    let longest = limits[0].resetAfter;
    for (let i = 1; i < limits.length; i++) longest = Math.max(longest, limits[i].resetAfter);
    return longest;
  }

  /** The limits that may deny. */
  protected get deciding(): readonly AnsweredLimit[] {
    return this.limits;
  }

  /** The limit nearest to exhaustion. */
  private get nearest(): AnsweredLimit {
    const { deciding: limits } = this;
    let nearest = limits[0];
    for (let i = 1; i < limits.length; i++) if (limits[i].balance < nearest.balance) nearest = limits[i];
    return nearest;
  }

  /** The limit with the longest wait. */
  private get longest(): AnsweredLimit {
    const { deciding: limits } = this;
    let longest = limits[0];
    for (let i = 1; i < limits.length; i++) if (limits[i].retryAfter > longest.retryAfter) longest = limits[i];
    return longest;
  }
}

/** The answer about limits some of which are soft. These decide nothing, unless there are no others. */
export class SoftAnswer extends Answer {
  constructor(
    private readonly kinds: readonly Limit[],
    ...answer: ConstructorParameters<typeof Answer>
  ) {
    super(...answer);
  }

  get exceeded(): readonly string[] | undefined {
    if (!this.allowed) return undefined;
    const soft = this.limits.filter(({ balance }, i) => balance < 0 && isSoft(this.kinds[i]));
    return soft.length > 0 ? soft.map(({ name }) => name) : undefined;
  }

  protected override get deciding(): readonly AnsweredLimit[] {
    const hard = this.limits.filter((_, i) => !isSoft(this.kinds[i]));
    return hard.length > 0 ? hard : this.limits;
  }
}

/** Whether a policy of the takes has a soft limit. */
export function hasSoftLimit(takes: readonly Take[]): boolean {
  for (let i = 0; i < takes.length; i++) if (takes[i].policy.hasSoft) return true;
  return false;
}

/** The limits of all takes, in the order of an answer. */
export function limitsOfTakes(takes: readonly Take[]): readonly Limit[] {
  return takes.length === 1 ? takes[0].policy.limits : takes.flatMap(({ policy }) => policy.limits);
}

/** The answer that a row of numbers holds. */
export function toAnswer(takes: readonly Take[], row: Readonly<Row>, source: DecisionSource): StoreAnswer {
  const delay = row[1];
  // Allocated at its full length: V8 gives a growing array room for more than it needs.
  const limits = new Array<AnsweredLimit>((rowLength(takes) - ROW_HEAD - takes.length) / ROW_LIMIT);
  let count = 0;
  let index = ROW_HEAD;
  let hasWaits = false;
  let needsTakenAt = false;
  for (const { policy } of takes) {
    const heldFor = row[0] === 0 ? row[index] : 0;
    if (row[index++] !== 0) hasWaits = true;
    for (let i = 0; i < policy.limits.length; i++, index += ROW_LIMIT) {
      const limit = policy.limits[i];
      if (limit.algorithm.needsTakenAt) needsTakenAt = true;
      const state = limitState(
        policy.labels[i],
        limit,
        row[index],
        toTime(row[index + 1]),
        toTime(row[index + 2]),
        toTime(row[index + 3]),
      );
      limits[count++] = heldFor > 0 ? { ...state, heldFor } : state;
    }
  }
  const allowed = row[0] === 1;
  const takenAt = allowed && needsTakenAt ? row[3] : undefined;
  // Without a delay, too: the buckets of one request may be on servers whose clocks differ.
  const actAt = allowed && hasWaits ? waitsOf(takes, row).map((wait) => row[3] + wait) : undefined;
  const taken = row[2] / AMOUNT_PER_TOKEN;
  return hasSoftLimit(takes)
    ? new SoftAnswer(limitsOfTakes(takes), allowed, limits, taken, source, takenAt, delay, actAt)
    : new Answer(allowed, limits, taken, source, takenAt, delay, actAt);
}

/** The decision of an answer as plain data. Spreading would lose the getters of an answer. */
export function toDecision(answer: Decision): Decision {
  if (answer instanceof BucketAnswer) return answer.toDecision();
  const { allowed, policy, limit, remaining, retryAfter, resetAfter, delay, source, exceeded } = answer;
  const limits = answer.limits.map(
    (one): LimitState => ({
      name: one.name,
      limit: one.limit,
      remaining: one.remaining,
      retryAfter: one.retryAfter,
      resetAfter: one.resetAfter,
      moreAfter: one.moreAfter,
    }),
  );
  const decision = { allowed, policy, limit, remaining, retryAfter, resetAfter, delay, source, limits };
  return exceeded ? { ...decision, exceeded } : decision;
}

/** The whole answer as plain data, safe to keep, spread and serialize. */
export function plainAnswer(answer: StoreAnswer): StoreAnswer {
  const { balance, taken, takenAt, actAt } = answer;
  return { ...toDecision(answer), balance, taken, takenAt, actAt };
}

/** The row of a request that is admitted without a store: all buckets full. */
export function openRow(takes: readonly Take[], now: number): readonly number[] {
  const row = [1, 0, takes[0].amount, now];
  for (const { policy } of takes) {
    row.push(0);
    for (const limit of policy.limits) row.push(limit.capacity, 0, 0, 0);
  }
  return row;
}

function toTime(ms: number): number {
  return ms === NEVER ? Infinity : ms;
}

function waitsOf(takes: readonly Take[], row: Readonly<Row>): number[] {
  let index = ROW_HEAD;
  return takes.map((take) => {
    const wait = row[index];
    index += 1 + ROW_LIMIT * take.policy.limits.length;
    return wait;
  });
}
