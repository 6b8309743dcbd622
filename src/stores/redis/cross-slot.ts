import { ROW_HEAD } from '../../core/answer.js';
import type { StoreRequest, Take } from '../../core/request.js';

type Row = readonly number[];
type Ask = (request: StoreRequest) => Promise<Row>;

/**
 * Carries out a request whose buckets live in different slots of a Cluster, where one script cannot reach them all:
 * one after the other. If one refuses or cannot be asked, what the others gave is given back, so that in the end it is
 * all or nothing; for that moment others may see too little, never too much.
 */
export async function runApart(request: StoreRequest, ask: Ask): Promise<Row> {
  const { takes, verb } = request;
  const rows: Row[] = [];
  for (const [i, take] of takes.entries()) {
    const part = { ...request, takes: [take], actAt: request.actAt && [request.actAt[i]] };
    const row = await ask(part).catch(async (error) => {
      if (verb === 'take') await giveBack(takes, rows, ask);
      throw error;
    });
    if (verb === 'take' && row[0] === 0) {
      await giveBack(takes, rows, ask);
      for (const [k, other] of takes.entries()) rows[k] = k === i ? row : await standing(other, ask);
      break;
    }
    rows.push(row);
  }
  return joined(rows);
}

/** As far as it can be done: what a server that has gone does not get back, it gets back by time. */
async function giveBack(takes: readonly Take[], rows: readonly Row[], ask: Ask): Promise<void> {
  await Promise.allSettled(
    rows.map(([, delay, , now], i) =>
      ask(delay > 0 ? { verb: 'cancel', takes: [takes[i]], actAt: [now + delay] } : { verb: 'put', takes: [takes[i]] }),
    ),
  );
}

/** How a bucket stands that was not taken from. */
async function standing(take: Take, ask: Ask): Promise<Row> {
  const row = await ask({ verb: 'estimate', takes: [take] });
  return row[0] === 0 ? row : ask({ verb: 'estimate', takes: [{ ...take, amount: 0 }] });
}

/** One row of several: allowed if all are, as late as the latest. */
function joined(rows: readonly Row[]): Row {
  const now = rows[0][3];
  const allowed = rows.every((row) => row[0] === 1);
  const row = [allowed ? 1 : 0, allowed ? Math.max(...rows.map((one) => one[1])) : 0, rows[0][2], now];
  for (const one of rows) {
    // The servers' clocks differ; instants are told by the first one's.
    row.push(one[ROW_HEAD] + one[3] - now, ...one.slice(ROW_HEAD + 1));
  }
  return row;
}
