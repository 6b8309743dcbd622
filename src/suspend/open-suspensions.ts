import { RateLimitUnavailableException, withoutStackTrace } from '../exceptions/rate-limit.exception.js';
import { type Clock, later } from '../util/clock.js';
import type { Suspension } from './suspension.js';

/** ms between the answers to suspended requests and the rest of the shutdown. */
const ANSWER_TIME = 100;

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
   * reservation is refunded in full. Resolves when the answers have had time to arrive: Nest then closes its servers, and
   * RabbitMQ's would lose replies that are not confirmed, and reject them where nothing handles the rejection.
   */
  async close(): Promise<void> {
    this.closed = true;
    if (this.open.size === 0) return;
    for (const suspension of [...this.open].reverse()) suspension.interrupt(shutdownError());
    await new Promise<void>((resolve) => later(ANSWER_TIME, resolve));
  }
}

/** Returns the error that ends suspensions and waits when the application shuts down, on every transport. */
export function shutdownError(): RateLimitUnavailableException {
  return withoutStackTrace(() => new RateLimitUnavailableException(undefined, 'The application is shutting down'));
}
