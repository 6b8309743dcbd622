import type { Socket } from '../sent-command.js';

/** Counts the replies of a connection, for a client that does not show its socket. */
export class ReplyCount implements Socket {
  /** Replies instead of bytes: only whether there were any matters. */
  bytesRead = 0;
}
