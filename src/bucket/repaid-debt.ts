/** More than the relative error of a rate and of its product with a time. */
const ROUNDING_ERROR = 2 * Number.EPSILON;
/** The sum starts anew when more than this has been repaid, so that it stays exact. */
const MOST_REPAID = 2 ** 40;

/** `rate`, so much higher that a time computed from it is never a millisecond too long. */
export function roundedUp(rate: number): number {
  return rate * (1 + ROUNDING_ERROR);
}

/**
 * A debt of amounts that is repaid continuously, at a rate that need not be a whole number. It is the sum of what was
 * added since it was last 0, less what has been repaid since then: one multiplication, so rounding errors do not add up.
 */
export class RepaidDebt {
  private sum = 0;

  /** `rate` is the amount repaid per ms; `since` is now. */
  constructor(
    private readonly rate: number,
    private since: number,
  ) {}

  add(amount: number): void {
    this.sum += amount;
  }

  clear(now: number): void {
    this.sum = 0;
    this.since = now;
  }

  /** The debt at `now`, which must not be before an earlier call's. Whole if it is so but for the rounding error. */
  at(now: number): number {
    const left = this.sum - (now - this.since) * this.rate;
    const whole = Math.round(left);
    const debt = Math.max(0, Math.abs(left - whole) <= ROUNDING_ERROR * this.sum ? whole : left);
    if (debt === 0 || this.sum - debt > MOST_REPAID) {
      this.sum = debt;
      this.since = now;
    }
    return debt;
  }
}
