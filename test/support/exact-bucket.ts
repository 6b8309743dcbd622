/** A token bucket in BigInt arithmetic: `capacity` and costs in thousandths, `refill` in thousandths per `period`. */
export class ExactBucket {
  private missing = 0n; // in thousandths × period
  private at: bigint;

  constructor(
    private readonly capacity: bigint,
    private readonly refill: bigint,
    private readonly period: bigint,
    now: number,
  ) {
    this.at = BigInt(now);
  }

  /** Returns the milliseconds until `cost` is available, and takes it if that is 0. */
  take(cost: bigint, now: number): number {
    const refilled = (BigInt(now) - this.at) * this.refill;
    this.missing = this.missing > refilled ? this.missing - refilled : 0n;
    this.at = BigInt(now);
    const over = this.missing + cost * this.period - this.capacity * this.period;
    if (cost > this.capacity) return Infinity;
    if (over > 0n) return Number((over + this.refill - 1n) / this.refill);
    this.missing += cost * this.period;
    return 0;
  }
}
