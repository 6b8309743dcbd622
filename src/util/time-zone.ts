const SECOND = 1000;
const HOUR = 3600 * SECOND;

/** No zone's local time is further from UTC. */
const MAX_OFFSET = 16 * HOUR;
/** Shorter than the time between two changes of a zone's offset. */
const PROBE = 6 * HOUR;

/**
 * The local time of an IANA time zone, by the rules of this process's `Intl`. A local time is a number of milliseconds
 * since 1970-01-01T00:00 on the clocks of that zone.
 */
export class TimeZone {
  private readonly format: Intl.DateTimeFormat | undefined;

  /** Throws a `RangeError` if `Intl` does not know the zone. */
  constructor(readonly name: string) {
    if (name === 'UTC') return;
    const numeric = 'numeric';
    this.format = new Intl.DateTimeFormat('en-US', {
      timeZone: name,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: numeric,
      month: numeric,
      day: numeric,
      hour: numeric,
      minute: numeric,
      second: numeric,
    });
  }

  /** What the clocks of the zone show at the instant `at`, in ms since 1970. */
  localTime(at: number): number {
    return at + this.offsetAt(at);
  }

  /** The first instant at which the clocks show `local`, a whole second, or later. Clocks that skip it show it never. */
  firstAt(local: number): number {
    let from = local - MAX_OFFSET;
    for (;;) {
      const reached = local - this.offsetAt(from);
      const change = this.nextChange(from, reached);
      if (change === undefined) return reached;
      if (this.localTime(change) >= local) return change;
      from = change;
    }
  }

  /** The first instant in (from, to] whose offset is not that of `from`; both are whole seconds. */
  private nextChange(from: number, to: number): number | undefined {
    const offset = this.offsetAt(from);
    for (let before = from; before < to; before += PROBE) {
      let after = Math.min(before + PROBE, to);
      if (this.offsetAt(after) === offset) continue;
      while (after - before > SECOND) {
        const middle = before + Math.floor((after - before) / 2 / SECOND) * SECOND;
        if (this.offsetAt(middle) === offset) before = middle;
        else after = middle;
      }
      return after;
    }
    return undefined;
  }

  /** Milliseconds that local time is ahead of UTC. */
  private offsetAt(at: number): number {
    if (!this.format) return 0;
    const second = Math.floor(at / SECOND) * SECOND;
    const parts: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {};
    for (const { type, value } of this.format.formatToParts(second)) parts[type] = Number(value);
    const { year = 0, month = 0, day = 0, hour = 0, minute = 0, second: seconds = 0 } = parts;
    return Date.UTC(year, month - 1, day, hour, minute, seconds) - second;
  }
}
