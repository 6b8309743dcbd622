import { later } from '../util/clock.js';

const EVERY = 60_000;
/** Policies told apart; resolvers may make names without end. */
const MOST = 100;
const OTHERS = '(others)';

interface Silence {
  readonly refused: string;
  /** Refusals since the last line. */
  count: number;
}

/**
 * Writes refusals to a log that a flood must not fill: of each policy the first one, and then once a minute how many
 * there were since. It names no client.
 */
export class RefusalLog {
  private readonly silences = new Map<string, Silence>();

  constructor(
    private readonly write: (line: string) => void,
    private readonly after: (ms: number, run: () => void) => void = later,
  ) {}

  note(policy: string, dryRun = false): void {
    const known = this.silences.has(policy) || this.silences.size < MOST ? policy : OTHERS;
    const silence = this.silences.get(known);
    if (silence) {
      silence.count++;
      return;
    }
    const refused = dryRun ? `Policy ${known}, which is on trial, would have refused` : `Policy ${known} refused`;
    this.write(`${refused} a request`);
    this.silences.set(known, { refused, count: 0 });
    this.tellLater(known);
  }

  /** Writes what was not written yet. */
  close(): void {
    for (const { refused, count } of this.silences.values()) if (count > 0) this.write(sum(refused, count));
    this.silences.clear();
  }

  private tellLater(policy: string): void {
    this.after(EVERY, () => {
      const silence = this.silences.get(policy);
      if (!silence) return;
      if (silence.count === 0) {
        this.silences.delete(policy);
        return;
      }
      this.write(sum(silence.refused, silence.count));
      silence.count = 0;
      this.tellLater(policy);
    });
  }
}

function sum(refused: string, count: number): string {
  return `${refused} ${count} more ${count === 1 ? 'request' : 'requests'} within a minute`;
}
