import { later } from '../util/clock.js';

/** Milliseconds over which repeated rejections are summed up in one log line. */
const SUMMARY_INTERVAL = 60_000;
/** The number of policies logged individually; a resolver can return any number of policy names. */
const MAX_POLICIES = 100;
const OTHER_POLICIES = '(others)';

/** The rejections of one policy since its last log line. */
interface PendingSummary {
  /** Subject and verb of the log line: `Policy sms rejected`. */
  readonly prefix: string;
  count: number;
}

/**
 * Logs rejections without flooding the log: the first one of each policy immediately, then one summary per minute with
 * the number of rejections since. It logs no keys or addresses.
 */
export class RejectionLog {
  private readonly summaries = new Map<string, PendingSummary>();

  constructor(
    private readonly write: (line: string) => void,
    private readonly after: (ms: number, run: () => void) => void = later,
  ) {}

  /** Logs or counts one rejection by `policy`. */
  note(policy: string, dryRun = false): void {
    const name = this.summaries.has(policy) || this.summaries.size < MAX_POLICIES ? policy : OTHER_POLICIES;
    const summary = this.summaries.get(name);
    if (summary) {
      summary.count++;
      return;
    }
    const prefix = dryRun ? `[dry run] Policy ${name} would have rejected` : `Policy ${name} rejected`;
    this.write(`${prefix} a request`);
    this.summaries.set(name, { prefix, count: 0 });
    this.scheduleSummary(name);
  }

  /** Logs the summaries that are still pending. */
  close(): void {
    for (const summary of this.summaries.values()) if (summary.count > 0) this.write(summaryLine(summary));
    this.summaries.clear();
  }

  private scheduleSummary(name: string): void {
    this.after(SUMMARY_INTERVAL, () => {
      const summary = this.summaries.get(name);
      if (!summary) return;
      if (summary.count === 0) {
        this.summaries.delete(name);
        return;
      }
      this.write(summaryLine(summary));
      summary.count = 0;
      this.scheduleSummary(name);
    });
  }
}

function summaryLine({ prefix, count }: PendingSummary): string {
  return `${prefix} ${count} more ${count === 1 ? 'request' : 'requests'} within a minute`;
}
