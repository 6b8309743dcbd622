import { ServiceUnavailableException } from '@nestjs/common';
import type { Clock } from '../util/clock.js';
import type { Suspension } from './suspension.js';

/** The unsettled suspensions of one guard or interceptor, so that none outlives the application. */
export class OpenSuspensions {
  private readonly open = new Set<Suspension>();
  private closed = false;

  constructor(readonly clock: Clock) {}

  add(suspension: Suspension): void {
    if (this.closed) return suspension.interrupt(shutdownError());
    this.open.add(suspension);
    suspension.onSettled(() => this.open.delete(suspension));
  }

  /**
   * Fails all open suspensions, and every later one, with status 503. The newest fails first, so that each canceled
   * reservation is refunded in full.
   */
  close(): void {
    this.closed = true;
    for (const suspension of [...this.open].reverse()) suspension.interrupt(shutdownError());
  }
}

/** Returns the error that ends suspensions and waits when the application shuts down. */
export function shutdownError(): ServiceUnavailableException {
  return new ServiceUnavailableException('The application is shutting down');
}
