/**
 * Estimates the time of the Redis server from this process's steady clock. The server reads its clock between the
 * sending of a command and the arrival of the reply, so each reply bounds the offset between the clocks on both sides.
 */
export class ServerTime {
  /** ms that the server's clock is ahead; `undefined` before the first reply. */
  private offset: number | undefined;

  /** The server's time at `local` of the steady clock. Before the first reply 0, which is always in the past. */
  at(local: number): number {
    return this.offset === undefined ? 0 : local + this.offset;
  }

  /** Records that a command sent at `sent` returned the server's time `serverNow` at `received`. */
  observe(serverNow: number, sent: number, received: number): void {
    const min = serverNow - received;
    const max = serverNow - sent;
    this.offset = this.offset === undefined ? min : Math.min(Math.max(this.offset, min), max);
  }
}
