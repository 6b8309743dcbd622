import type { ClientTimeouts } from './clients/client-port.js';

/**
 * When commands are given up: the earliest of the store's timeout and those of the client. Redis must not execute a
 * command after that, because its caller has been answered without it.
 */
export class CommandDeadline {
  private outstanding = 0;
  /** Since when the client has waited for data, while commands are outstanding. */
  private silentSince = 0;

  constructor(
    private readonly timeouts: ClientTimeouts,
    private readonly timeout: number,
  ) {}

  /** Returns when a command that is sent at `now` is given up, on the steady clock; `since` is when its timeout started. */
  sent(since: number, now: number): number {
    if (this.outstanding++ === 0) this.silentSince = now;
    const { commandTimeout, socketTimeout } = this.timeouts;
    return Math.min(since + this.timeout, now + commandTimeout, this.silentSince + socketTimeout);
  }

  settled(now: number): void {
    this.outstanding--;
    this.silentSince = now;
  }
}
