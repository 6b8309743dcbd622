import type { Clock } from '../../core/clock.js';

/**
 * What the server's clock says at most, by this machine's. The server read its clock after the request was sent, so
 * its time less that of sending is the most that it can be ahead.
 */
export class ServerTime {
  /** ms that the server is ahead at most; `undefined` until it has answered. */
  private ahead: number | undefined;

  constructor(private readonly clock: Clock) {}

  /** The server's time so many ms from now, or later than that; -1 if nothing is known. */
  latest(ms: number): number {
    return this.ahead === undefined ? -1 : this.clock.now() + this.ahead + ms;
  }

  /** The server said `serverNow` in answer to what was sent at `sent`. */
  heard(serverNow: number, sent: number): void {
    const ahead = serverNow - sent;
    if (this.ahead === undefined || ahead < this.ahead) this.ahead = ahead;
  }

  /** What was known is wrong: the server's clock has been set, or it is another server. */
  correct(serverNow: number, sent: number): void {
    this.ahead = serverNow - sent;
  }
}
