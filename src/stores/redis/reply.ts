import { inspect } from 'node:util';
import { rowLength } from '../../core/answer.js';
import type { StoreRequest } from '../../core/request.js';
import { RateLimitStoreError } from '../rate-limit.store.js';

/** Full, a replica, its disk or its replicas gone. */
const CANNOT_WRITE = /\b(OOM|READONLY|MISCONF|NOREPLICAS)\b/;
/** The reply to a request that came too late. */
const LATE = -1;

/** What the script says of one request. */
export type Row = readonly number[];

/** A request on its way to Redis, and who is told of it. */
export interface Pending {
  readonly request: StoreRequest;
  /** When it was asked for. */
  readonly since: number;
  readonly resolve: (row: Row) => void;
  readonly reject: (error: unknown) => void;
}

/** The server's time, if the reply says that it came too late. */
export function lateness(reply: unknown): number | undefined {
  if (!Array.isArray(reply) || Number(reply[0]) !== LATE) return undefined;
  if (!Number.isSafeInteger(Number(reply[1]))) throw garbage(reply);
  return Number(reply[1]);
}

/** Cuts the reply and gives each caller his row, or the text that tells why there is none; returns the server's time. */
export function deal(pending: readonly Pending[], reply: unknown): number | undefined {
  const replies = Array.isArray(reply) ? reply : [];
  const rows: (Row | string)[] = [];
  let start = 0;
  for (const { request } of pending) {
    const end = start + rowLength(request.takes);
    const first = replies[start];
    const row = typeof first === 'string' && Number.isNaN(Number(first)) ? first : numbersOf(replies, start, end);
    if (typeof row !== 'string' && !isRow(row, end - start)) throw garbage(reply);
    rows.push(row);
    start = typeof row === 'string' ? start + 1 : end;
  }
  if (start !== replies.length) throw garbage(reply);
  let serverNow: number | undefined;
  for (const [i, { resolve, reject }] of pending.entries()) {
    const row = rows[i];
    if (typeof row === 'string') {
      reject(new RateLimitStoreError(`The bucket cannot be read: ${row}`, 'bucket'));
    } else {
      serverNow = row[3];
      resolve(row);
    }
  }
  return serverNow;
}

function numbersOf(replies: readonly unknown[], start: number, end: number): number[] {
  const numbers = replies.slice(start, end);
  // Texts of digits, on a connection with `stringNumbers`.
  return typeof numbers[0] === 'number' ? (numbers as number[]) : numbers.map(Number);
}

function isRow(row: readonly number[], length: number): boolean {
  const [allowed, delay, taken, now] = row;
  if (row.length !== length || !row.every(Number.isSafeInteger)) return false;
  return (allowed === 0 || allowed === 1) && delay >= 0 && taken >= 0 && now >= 0;
}

function garbage(reply: unknown): RateLimitStoreError {
  return new RateLimitStoreError(`Redis replied what the script cannot have: ${inspect(reply).slice(0, 100)}`);
}

export function storeError(error: unknown): RateLimitStoreError {
  if (error instanceof RateLimitStoreError) return error;
  const message = error instanceof Error ? error.message : inspect(error).slice(0, 100);
  if (CANNOT_WRITE.test(message)) {
    return new RateLimitStoreError(`Redis cannot write: ${message}`, 'write', { cause: error });
  }
  return new RateLimitStoreError(`Redis did not answer: ${message}`, 'store', { cause: error });
}
