import { ServiceUnavailableException } from '@nestjs/common';
import type { Clock } from '../util/clock.js';
import type { Suspension } from './suspension.js';

/** All suspensions of one guard or interceptor that are not settled, so that none outlives the application. */
export class OpenSuspensions {
  private readonly open = new Set<Suspension>();
  private closed = false;

  constructor(readonly clock: Clock) {}

  add(suspension: Suspension): void {
    if (this.closed) return suspension.cut(shutDown());
    this.open.add(suspension);
    suspension.onSettled(() => this.open.delete(suspension));
  }

  /** Ends all of them, and every later one at once, with 503. The last goes first, so that none leaves a gap behind. */
  close(): void {
    this.closed = true;
    for (const suspension of [...this.open].reverse()) suspension.cut(shutDown());
  }
}

/** What ends those who wait when the application closes. */
export function shutDown(): ServiceUnavailableException {
  return new ServiceUnavailableException('The application is shutting down');
}
