import { ROW_HEAD } from '../../core/answer.js';
import type { StoreRequest, Take } from '../../core/request.js';
import type { ReplyRow } from './pending-request.js';

type Run = (request: StoreRequest) => Promise<ReplyRow>;

/** Whether a request has buckets of several keys, which may be on different servers. */
export function hasSeveralKeys({ takes }: StoreRequest): boolean {
  for (let i = 1; i < takes.length; i++) if (takes[i].key !== takes[0].key) return true;
  return false;
}

/**
 * Executes a request whose buckets may be on different servers, where no script can access them all: one bucket after
 * the other. If a bucket denies the request or cannot be reached, tokens already taken are refunded, so that the
 * request takes from all buckets or from none. Until then other requests may see too few tokens, never too many.
 */
export async function runAcrossSlots(request: StoreRequest, run: Run): Promise<ReplyRow> {
  const { takes, verb } = request;
  const rows: ReplyRow[] = [];
  for (const [i, take] of takes.entries()) {
    const part = { ...request, takes: [take], actAt: request.actAt && [request.actAt[i]] };
    const row = await run(part).catch(async (error) => {
      if (verb === 'take') await refundAll(takes, rows, run);
      throw error;
    });
    if (verb === 'take' && row[0] === 0) {
      await refundAll(takes, rows, run);
      for (const [k, other] of takes.entries()) rows[k] = k === i ? row : await estimate(other, run);
      break;
    }
    rows.push(row);
  }
  return mergeRows(rows);
}

/** Undoes the takes that `rows` answer. Errors are ignored: tokens of an unreachable server return by refill. */
async function refundAll(takes: readonly Take[], rows: readonly ReplyRow[], run: Run): Promise<void> {
  await Promise.allSettled(
    rows.flatMap(([, delay, , now], i) => {
      const { holder, ...take } = takes[i];
      const refund = run({ verb: delay > 0 ? 'cancel' : 'put', takes: [take], actAt: [now + delay] });
      // Without a count: other takes of the holder may be under way.
      return holder ? [refund, run({ verb: 'hold', takes: [{ ...take, holder: { id: holder.id } }] })] : [refund];
    }),
  );
}

/** The row of a bucket that nothing was taken from: its balance, and the wait if it would deny the take, too. */
async function estimate(take: Take, run: Run): Promise<ReplyRow> {
  const row = await run({ verb: 'estimate', takes: [take] });
  return row[0] === 0
    ? row
    : run({ verb: 'estimate', takes: [{ ...take, amount: 0, amounts: undefined, checks: undefined }] });
}

/** Merges the rows of several buckets: allowed if all are, with the longest delay. */
function mergeRows(rows: readonly ReplyRow[]): ReplyRow {
  const now = rows[0][3];
  const allowed = rows.every((row) => row[0] === 1);
  const merged = [allowed ? 1 : 0, allowed ? Math.max(...rows.map((row) => row[1])) : 0, rows[0][2], now];
  for (const row of rows) {
    // The servers' clocks differ: `toAnswer` adds each wait of an allowed request to the first server's time.
    merged.push(row[ROW_HEAD] + (allowed ? row[3] - now : 0), ...row.slice(ROW_HEAD + 1));
  }
  return merged;
}
