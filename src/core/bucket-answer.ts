import type { Limit } from './algorithms/algorithm.js';
import { bucketMore, bucketWait, timeFor } from './algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN } from './amount.js';
import type { Decision, DecisionSource, LimitState, StoreAnswer } from './decision.js';

/**
 * The state of a bucket that owes `debt` after a request for `amount`, at `phase` (see `phaseAt`). Its values are
 * computed when they are read: most requests read few of them.
 */
export class BucketLimitState implements LimitState {
  constructor(
    private readonly bucket: Limit,
    readonly name: string,
    private readonly debt: number,
    private readonly phase: number,
    protected readonly amount: number,
    readonly allowed: boolean,
  ) {}

  get limit(): number {
    return this.bucket.size;
  }

  get balance(): number {
    return (this.bucket.capacity - this.debt) / (this.bucket.weight * AMOUNT_PER_TOKEN);
  }

  get remaining(): number {
    const { balance } = this;
    return balance > 0 ? balance : 0;
  }

  get retryAfter(): number {
    return this.allowed ? 0 : bucketWait(this.bucket, this.debt, this.amount * this.bucket.weight, this.phase);
  }

  get resetAfter(): number {
    return timeFor(this.bucket, this.debt, this.phase);
  }

  get moreAfter(): number {
    return bucketMore(this.bucket, this.debt, this.phase);
  }
}

/** The answer of a policy with a single bucket, whose state is the whole answer. */
export class BucketAnswer extends BucketLimitState implements StoreAnswer {
  constructor(
    bucket: Limit,
    name: string,
    debt: number,
    phase: number,
    amount: number,
    allowed: boolean,
    readonly source: DecisionSource,
  ) {
    super(bucket, name, debt, phase, amount, allowed);
  }

  get policy(): string {
    return this.name;
  }

  get limits(): readonly LimitState[] {
    return [this];
  }

  get delay(): number {
    return 0;
  }

  get taken(): number {
    return this.allowed ? this.amount / AMOUNT_PER_TOKEN : 0;
  }

  get actAt(): undefined {
    return undefined;
  }

  /** The decision as plain data, each value computed once. */
  toDecision(): Decision {
    const { allowed, name, limit, remaining, retryAfter, resetAfter, moreAfter, source } = this;
    const limits = [{ name, limit, remaining, retryAfter, resetAfter, moreAfter }];
    return { allowed, policy: name, limit, remaining, retryAfter, resetAfter, delay: 0, source, limits };
  }
}
