import { steadyNow } from '../../util/clock.js';

/** So many failures in a row open the breaker; so long after, one request is let through to see. */
const FAILURES = 5;
export const PROBE_AFTER = 500;

/** A circuit breaker: stops asking what does not answer, and looks from time to time whether it does again. */
export class Breaker {
  private failures = 0;
  private probeAt = 0;
  isOpen = false;

  /** Whether this request may be tried. */
  admits(): boolean {
    if (!this.isOpen) return true;
    const now = steadyNow();
    if (now < this.probeAt) return false;
    this.probeAt = now + PROBE_AFTER;
    return true;
  }

  /** `true` if that closed it. */
  succeeded(): boolean {
    const wasOpen = this.isOpen;
    this.failures = 0;
    this.isOpen = false;
    return wasOpen;
  }

  /** `true` if that opened it. */
  failed(): boolean {
    this.failures++;
    if (this.isOpen || this.failures < FAILURES) return false;
    this.isOpen = true;
    this.probeAt = steadyNow() + PROBE_AFTER;
    return true;
  }
}
