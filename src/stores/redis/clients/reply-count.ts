import type { Socket } from '../sent-command.js';

/** Counts the replies of a connection, for a client that does not show its socket. */
export class ReplyCount implements Socket {
  /** Replies instead of bytes: only whether there were any matters. */
  bytesRead = 0;

  /**
   * Counts the reply of a command. `toError` returns its error with the name `ReplyError` if a server has sent it; other
   * errors are no replies.
   */
  count(reply: Promise<unknown>, toError: (error: unknown) => unknown): Promise<unknown> {
    return reply.then(
      (value) => {
        this.bytesRead++;
        return value;
      },
      (reason) => {
        const error = toError(reason);
        if (error instanceof Error && error.name === 'ReplyError') this.bytesRead++;
        throw error;
      },
    );
  }
}
