import { inspect } from 'node:util';
import { ROW_HEAD, rowLength } from '../../core/answer.js';
import type { StoreRequest } from '../../core/request.js';
import { RateLimitStoreError } from '../rate-limit.store.js';

/** Full, a replica, its disk or its replicas gone. */
const CANNOT_WRITE = /\b(OOM|READONLY|MISCONF|NOREPLICAS)\b/;
/** In place of `allowed`: the request came too late; its bucket cannot be read. */
const LATE = -1;
const UNREADABLE = -2;

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

/** The numbers that the script has packed, one after the other. */
class Numbers {
  private readonly view: DataView;
  private offset = 0;

  constructor(private readonly reply: unknown) {
    const packed: unknown = Array.isArray(reply) ? reply[0] : reply;
    if (!(packed instanceof Uint8Array) || packed.length % 8 !== 0) throw garbage(reply);
    this.view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  }

  get left(): number {
    return (this.view.byteLength - this.offset) / 8;
  }

  next(least = 0): number {
    const number = this.left > 0 ? this.view.getFloat64(this.offset, true) : Number.NaN;
    if (!Number.isSafeInteger(number) || number < least) throw garbage(this.reply);
    this.offset += 8;
    return number;
  }
}

/** The server's time, if the reply says that it came too late. */
export function lateness(reply: unknown): number | undefined {
  const numbers = new Numbers(reply);
  return numbers.left === 2 && numbers.next(UNREADABLE) === LATE ? numbers.next() : undefined;
}

/** Cuts the reply and gives each caller his row, or the text that tells why there is none; returns the server's time. */
export function deal(pending: readonly Pending[], reply: unknown): number | undefined {
  const numbers = new Numbers(reply);
  const texts = Array.isArray(reply) ? reply.slice(1) : [];
  const rows = pending.map(({ request }) => rowOf(request, numbers, reply));
  if (numbers.left > 0 || texts.length !== rows.filter((row) => row === undefined).length) throw garbage(reply);
  let serverNow: number | undefined;
  let unreadable = 0;
  for (const [i, { resolve, reject }] of pending.entries()) {
    const row = rows[i];
    if (row) {
      serverNow = row[3];
      resolve(row);
    } else {
      reject(new RateLimitStoreError(`The bucket cannot be read: ${texts[unreadable++]}`, 'bucket'));
    }
  }
  return serverNow;
}

function rowOf({ takes }: StoreRequest, numbers: Numbers, reply: unknown): Row | undefined {
  const allowed = numbers.next(UNREADABLE);
  if (allowed === UNREADABLE) return undefined;
  if (allowed !== 0 && allowed !== 1) throw garbage(reply);
  const row = new Array<number>(rowLength(takes));
  row[0] = allowed;
  for (let i = 1; i < ROW_HEAD; i++) row[i] = numbers.next();
  // A balance may be a debt.
  for (let i = ROW_HEAD; i < row.length; i++) row[i] = numbers.next(-Infinity);
  return row;
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
