const TICK = 2;
/** A timer that is later than this, in ms, shows that the process was busy or did not get the processor. */
const NOTICEABLE = 4;

/** Records when this process was late, to separate its own lateness from that of others. */
export class Lag {
  private readonly gaps: { readonly from: number; readonly to: number }[] = [];
  private last = performance.now();
  private readonly ticker = setInterval(() => this.tick(), TICK);

  /** The ms since `start` for which this process was late. */
  since(start: number): number {
    this.tick();
    let sum = 0;
    for (let i = this.gaps.length - 1; i >= 0 && this.gaps[i].to > start; i--) {
      sum += this.gaps[i].to - Math.max(start, this.gaps[i].from);
    }
    return sum;
  }

  stop(): void {
    clearInterval(this.ticker);
  }

  private tick(): void {
    const now = performance.now();
    if (now - this.last > NOTICEABLE) this.gaps.push({ from: this.last, to: now });
    this.last = now;
  }
}

/** Returns how long a call takes, in ms, without the time for which this process was late: a slow machine is no fault. */
export async function measured<T>(call: () => Promise<T>): Promise<{ readonly value: T; readonly ms: number }> {
  const lag = new Lag();
  const start = performance.now();
  try {
    const value = await call();
    return { value, ms: performance.now() - start - lag.since(start) };
  } finally {
    lag.stop();
  }
}
