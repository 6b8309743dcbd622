/** What happened in one interval. */
export interface Bin {
  admitted: number;
  queued: number;
  rejected: number;
  /** The least share of tokens left in the watched bucket, 0 to 1; `undefined` if unknown. */
  left: number | undefined;
}

export type Count = 'admitted' | 'queued' | 'rejected';

/** Widths in ms, of which each divides the next; beyond the last one they double. */
const WIDTHS = [
  250, 500, 1000, 2000, 10_000, 30_000, 60_000, 120_000, 600_000, 1_800_000, 3_600_000, 7_200_000, 21_600_000,
  86_400_000,
];
const MAX_BINS = 200;

/** Counts over time, in at most `MAX_BINS` intervals: when there are more, neighbors are merged. */
export class Timeline {
  width = WIDTHS[0];
  bins: Bin[] = [];

  /** @param start In ms since 1970. */
  constructor(readonly start: number) {}

  /** The end of the last interval, in ms since 1970. */
  get end(): number {
    return this.start + this.bins.length * this.width;
  }

  count(at: number, kind: Count): void {
    this.binAt(at)[kind]++;
  }

  /** Records the share of tokens left. */
  sample(at: number, left: number): void {
    const bin = this.binAt(at);
    bin.left = Math.min(bin.left ?? 1, left);
  }

  private binAt(at: number): Bin {
    while (at - this.start >= this.width * MAX_BINS) this.widen();
    const index = Math.max(0, Math.floor((at - this.start) / this.width));
    while (this.bins.length <= index) this.bins.push(newBin());
    return this.bins[index];
  }

  private widen(): void {
    const width = WIDTHS.find((one) => one > this.width) ?? this.width * 2;
    const factor = width / this.width;
    const merged: Bin[] = [];
    this.bins.forEach((bin, i) => {
      if (i % factor === 0) merged.push(newBin());
      add(merged[merged.length - 1], bin);
    });
    this.width = width;
    this.bins = merged;
  }
}

function newBin(): Bin {
  return { admitted: 0, queued: 0, rejected: 0, left: undefined };
}

function add(sum: Bin, bin: Bin): void {
  sum.admitted += bin.admitted;
  sum.queued += bin.queued;
  sum.rejected += bin.rejected;
  if (bin.left !== undefined) sum.left = Math.min(sum.left ?? 1, bin.left);
}
