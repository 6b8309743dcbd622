import type { AnsweredLimit } from '../../core/answer.js';
import type { LimitState } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import type { Take } from '../../core/request.js';
import { detachedString } from '../../util/detached-string.js';

/** How many buckets are remembered at least. */
const MAX_ANSWERS = 10_000;
/** Numbers per limit. */
const PER_LIMIT = 3;

/** What the store last answered about a bucket. */
export interface LastAnswer {
  /** When the answer arrived, by this process's clock. */
  readonly at: number;
  readonly limits: readonly { readonly balance: number; readonly resetAfter: number; readonly moreAfter: number }[];
}

/** The answers about the buckets of one policy, as numbers: keeping the answers themselves would cost garbage collection. */
interface Table {
  readonly policy: Policy;
  /** For each key the index in `cells` of its numbers: the time, and three for each limit. */
  readonly places: Map<string, number>;
  readonly cells: number[];
}

/** A set of answers that are forgotten together. */
class Generation {
  /** How many were added. */
  size = 0;
  private readonly tables = new Map<string, Table>();
  private last: Table | undefined;

  of(policy: Policy): Table {
    if (this.last?.policy === policy) return this.last;
    let table = this.tables.get(policy.id);
    if (!table) {
      table = { policy, places: new Map(), cells: [] };
      this.tables.set(policy.id, table);
    }
    this.last = table;
    return table;
  }
}

/** The last answers of the store, for at least the last 10,000 buckets and at most twice as many. */
export class LastAnswers {
  private recent = new Generation();
  private older = new Generation();

  /** At most how many answers are remembered now. */
  get size(): number {
    return this.recent.size + this.older.size;
  }

  /** Remembers what the store answered about a bucket, whose limits begin at `limits[first]`. */
  set({ policy, key }: Take, at: number, limits: readonly LimitState[], first: number): void {
    // An incomplete answer of a user's store.
    if (limits.length < first + policy.limits.length) return;
    let { places, cells } = this.recent.of(policy);
    let place = places.get(key);
    if (place === undefined) {
      if (this.recent.size === MAX_ANSWERS) {
        this.older = this.recent;
        this.recent = new Generation();
        ({ places, cells } = this.recent.of(policy));
      }
      this.recent.size++;
      place = cells.length;
      places.set(detachedString(key), place);
    }
    cells[place++] = at;
    for (let i = 0; i < policy.limits.length; i++) {
      const { remaining, balance = remaining, resetAfter, moreAfter } = limits[first + i] as AnsweredLimit;
      cells[place++] = balance;
      cells[place++] = resetAfter;
      cells[place++] = moreAfter;
    }
  }

  /** Returns the last answer about a bucket, and forgets it. */
  remove({ policy, key }: Take): LastAnswer | undefined {
    let last: LastAnswer | undefined;
    for (const { places, cells } of [this.older.of(policy), this.recent.of(policy)]) {
      const place = places.get(key);
      if (place === undefined) continue;
      places.delete(key);
      last = answerAt(policy, cells, place);
    }
    return last;
  }
}

function answerAt({ limits }: Policy, cells: readonly number[], place: number): LastAnswer {
  return {
    at: cells[place],
    limits: limits.map((_, i) => {
      const start = place + 1 + PER_LIMIT * i;
      return { balance: cells[start], resetAfter: cells[start + 1], moreAfter: cells[start + 2] };
    }),
  };
}
