import { steadyNow } from '../../util/clock.js';

/** The number of consecutive failures that opens the breaker. */
const FAILURE_THRESHOLD = 5;
/** ms between two probes while the breaker is open. */
export const PROBE_INTERVAL = 500;

/** A circuit breaker: suspends calls to a store, or to a node of it, that keeps failing, except for an occasional probe. */
export class Breaker {
  private failures = 0;
  private nextProbeAt = 0;
  isOpen = false;
  /** A write was rejected. Until one succeeds, answers to reads do not prove that the node has recovered. */
  rejectsWrites = false;
  /** The last failure. */
  error: Error | undefined;
  /** When it opened, in ms of the system clock. */
  openSince: number | undefined;
  /** Stops the probes that started when it opened. */
  stopProbing = () => {};

  /** Whether a call may be made now. While the breaker is open, `true` makes that call the probe. */
  allowsCall(): boolean {
    if (!this.isOpen) return true;
    const now = steadyNow();
    if (now < this.nextProbeAt) return false;
    this.nextProbeAt = now + PROBE_INTERVAL;
    return true;
  }

  /** Returns whether this opened the breaker. */
  recordFailure(error: Error): boolean {
    this.error = error;
    this.failures++;
    if (this.isOpen || this.failures < FAILURE_THRESHOLD) return false;
    this.isOpen = true;
    this.nextProbeAt = steadyNow() + PROBE_INTERVAL;
    return true;
  }
}
