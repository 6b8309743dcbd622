import { inspect, types } from 'node:util';
import { ROW_HEAD, rowLength } from '../../core/answer.js';
import type { StoreRequest } from '../../core/request.js';
import { RateLimitStoreError } from '../../exceptions/rate-limit-store.error.js';
import { safeError } from './clients/client-error.js';
import type { PendingRequest, ReplyRow } from './pending-request.js';
import { LATE, UNCOVERED, UNREADABLE } from './script-protocol.js';

/** Errors of a server that answers but does not write: out of memory, a replica, without disk or replicas, or by its ACL. */
const WRITE_REJECTED =
  /\b(OOM|READONLY|MISCONF|NOREPLICAS|NOPERM)\b|user executing the script can't|ACL failure in script/;

/** Errors of ioredis about commands that it has neither sent nor queued. */
const NOT_SENT = /isn't (writeable|ready) and enableOfflineQueue/;

/** Reads the doubles of a reply, which are packed into one buffer, and checks that they are whole numbers. */
class DoubleReader {
  private readonly view: DataView;
  private readonly length: number;
  private offset = 0;

  constructor(private readonly reply: unknown) {
    const packed = doublesOf(reply);
    if (!packed || packed.length % 8 !== 0) throw unexpectedReply(reply);
    this.length = packed.length;
    this.view = new DataView(packed.buffer, packed.byteOffset, this.length);
  }

  /** Whether all numbers have been read. */
  get isAtEnd(): boolean {
    return this.offset === this.length;
  }

  next(min = 0): number {
    const number = this.isAtEnd ? Number.NaN : this.view.getFloat64(this.offset, true);
    if (!Number.isSafeInteger(number) || number < min) throw unexpectedReply(this.reply);
    this.offset += 8;
    return number;
  }
}

/** The buffer of a reply: all of it, or the first element if errors follow. */
function doublesOf(reply: unknown): Uint8Array | undefined {
  const packed: unknown = Array.isArray(reply) ? reply[0] : reply;
  return packed instanceof Uint8Array ? packed : undefined;
}

/** The server's time if the command missed its deadline; `undefined` if it was executed. */
export function lateReplyTime(reply: unknown): number | undefined {
  // A late reply is two doubles.
  if (doublesOf(reply)?.length !== 16) return undefined;
  const doubles = new DoubleReader(reply);
  return doubles.next(UNCOVERED) === LATE ? doubles.next() : undefined;
}

/**
 * Splits the reply and settles each request of the batch: with its row, or with an error if a bucket of it cannot be
 * read. Calls `sendAgain` for those that need other periods of the calendar. Returns the server's time, if any row has
 * it.
 */
export function dispatchReplies(
  batch: readonly PendingRequest[],
  reply: unknown,
  sendAgain: (pending: PendingRequest) => void,
): number | undefined {
  const doubles = new DoubleReader(reply);
  const problems: unknown[] = Array.isArray(reply) ? reply.slice(1) : [];
  let unreadable = 0;
  const rows = batch.map(({ request }) => {
    const row = readRow(request, doubles, reply);
    if (!row) unreadable++;
    return row;
  });
  if (!doubles.isAtEnd || problems.length !== unreadable) throw unexpectedReply(reply);
  let serverNow: number | undefined;
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i];
    if (row?.[0] === UNCOVERED) {
      resendAt(batch[i], row[1], sendAgain);
    } else if (row) {
      serverNow = row[3];
      batch[i].resolve(row);
    } else {
      batch[i].reject(unreadableBucket(problems.shift()));
    }
  }
  return serverNow;
}

/** The next row of the reply; `undefined` if a bucket of the request cannot be read. */
function readRow({ takes }: StoreRequest, doubles: DoubleReader, reply: unknown): ReplyRow | undefined {
  const allowed = doubles.next(UNCOVERED);
  if (allowed === UNREADABLE) return undefined;
  if (allowed === UNCOVERED) return [allowed, doubles.next()];
  if (allowed !== 0 && allowed !== 1) throw unexpectedReply(reply);
  const row = new Array<number>(rowLength(takes));
  row[0] = allowed;
  for (let i = 1; i < ROW_HEAD; i++) row[i] = doubles.next();
  // A balance may be negative.
  for (let i = ROW_HEAD; i < row.length; i++) row[i] = doubles.next(-Infinity);
  return row;
}

/** Sends a request again with the periods of the calendar at the instant `at`, once. */
function resendAt(pending: PendingRequest, at: number, sendAgain: (pending: PendingRequest) => void): void {
  if (pending.calendarAt === undefined) return sendAgain({ ...pending, calendarAt: at });
  const reason = 'the clocks of its buckets differ by more than two periods of the calendar';
  pending.reject(new RateLimitStoreError(`Request cannot be decided: ${reason}`, 'bucket', { outcome: 'not-applied' }));
}

/** `problem` is the key of the bucket and what is wrong with its value. */
function unreadableBucket(problem: unknown): RateLimitStoreError {
  return new RateLimitStoreError(`Unreadable bucket ${problem}. Delete the key or use another \`prefix\``, 'bucket');
}

function unexpectedReply(reply: unknown): RateLimitStoreError {
  return new RateLimitStoreError(`Redis sent an unexpected script reply: ${inspect(reply).slice(0, 100)}`);
}

/** Whether Redis does not have the script: a restart, a fail-over or `SCRIPT FLUSH` drops it. */
export function isScriptMissing(error: unknown): boolean {
  return types.isNativeError(error) && error.message.startsWith('NOSCRIPT');
}

/** Whether Redis rejected a command for several keys, of which its cluster has some on other servers. */
export function isCrossSlotError(error: unknown): boolean {
  return types.isNativeError(error) && /\bCROSSSLOT\b/.test(error.message);
}

/** Whether a slot is being migrated, and one of the command's keys is on each of both servers. */
export function isTryAgainError(error: unknown): boolean {
  return types.isNativeError(error) && /\bTRYAGAIN\b/.test(error.message);
}

/** Errors of a cluster that a client follows, unless it is a connection to one node. */
const REDIRECTED = /^(MOVED|ASK) /;

/** The error of a failed command as a `RateLimitStoreError`. */
export function toStoreError(error: unknown): RateLimitStoreError {
  if (error instanceof RateLimitStoreError) return error;
  const cause = safeError(error);
  const { message } = cause;
  if (WRITE_REJECTED.test(message))
    return new RateLimitStoreError(`Redis rejects writes: ${message}`, 'write', { cause });
  if (REDIRECTED.test(message)) {
    const fix = 'Use a client of the whole Cluster: `redis: new Cluster([{ host, port }])`';
    const reason = `This node of a Redis Cluster does not have the bucket: ${message}. ${fix}`;
    return new RateLimitStoreError(reason, 'bucket', { cause, outcome: 'not-applied' });
  }
  // A server that replies with an error has executed no part of the script: it saves all buckets last.
  const outcome = cause.name === 'ReplyError' || NOT_SENT.test(message) ? 'not-applied' : 'unknown';
  return new RateLimitStoreError(`Redis command failed: ${message}`, 'store', { cause, outcome });
}
