import type { Clock } from '../core/clock.js';

/** So many failures in a row open the breaker; so long after, one request is let through to see. */
const FAILURES = 5;
const PROBE_AFTER = 500;

/** A circuit breaker: stops asking what does not answer, and looks from time to time whether it does again. */
export class Breaker {
  private failures = 0;
  private probeAt = 0;
  /** Since when it is open; `undefined` while it is closed. */
  openSince: number | undefined;

  constructor(private readonly clock: Clock) {}

  /** Whether this request may be tried. */
  admits(): boolean {
    if (this.openSince === undefined) return true;
    const now = this.clock.now();
    if (now < this.probeAt) return false;
    this.probeAt = now + PROBE_AFTER;
    return true;
  }

  /** `true` if that closed it. */
  succeeded(): boolean {
    const wasOpen = this.openSince !== undefined;
    this.failures = 0;
    this.openSince = undefined;
    return wasOpen;
  }

  /** `true` if that opened it. */
  failed(): boolean {
    this.failures++;
    if (this.openSince !== undefined || this.failures < FAILURES) return false;
    this.openSince = this.clock.now();
    this.probeAt = this.openSince + PROBE_AFTER;
    return true;
  }
}
