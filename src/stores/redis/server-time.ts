/**
 * What the server's clock says, by this machine's steady one. The server reads its clock between the sending of a
 * request and the coming of its answer: each answer tells how far ahead it is at least and at most.
 */
export class ServerTime {
  /** ms that the server is ahead; `undefined` until it has answered. */
  private ahead: number | undefined;

  /** The server's time at `at`; 0, which is always over, if nothing is known. */
  of(at: number): number {
    return this.ahead === undefined ? 0 : at + this.ahead;
  }

  /** The server said `serverNow` in answer to what was sent at `sent` and came back at `received`. */
  heard(serverNow: number, sent: number, received: number): void {
    const least = serverNow - received;
    const most = serverNow - sent;
    this.ahead = this.ahead === undefined ? least : Math.min(Math.max(this.ahead, least), most);
  }
}
