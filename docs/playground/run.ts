import type { Plan } from '../../src/policy/plan.js';
import { type LoggedRequest, type Outcome, Simulation } from './simulate.js';
import { type Count, Timeline } from './timeline.js';

const MAX_RECENT = 8;
const MAX_CLIENTS = 10_000;

/** What one candidate does with a load, and what the page shows of it. */
export class Run {
  readonly timeline: Timeline;
  readonly counts: Record<Count, number> = { admitted: 0, queued: 0, rejected: 0 };
  /** The longest time in the queue, ms. */
  longestWait = 0;
  /** The last outcomes, the latest first. */
  readonly recent: Outcome[] = [];
  /** How many requests of each client were rejected; later clients are not counted individually. */
  readonly rejections = new Map<string, number>();
  private readonly simulation: Simulation;

  constructor(
    plan: Plan,
    start: number,
    /** The client whose bucket is plotted. */
    private readonly watched: string,
  ) {
    this.simulation = new Simulation(plan);
    this.timeline = new Timeline(start);
  }

  send(request: LoggedRequest): void {
    this.advanceTo(request.at);
    const outcome = this.simulation.send(request);
    const { decision } = outcome;
    const kind = kindOf(outcome);
    this.counts[kind]++;
    this.timeline.count(request.at, kind);
    if (kind === 'rejected') this.countRejection(request.client);
    if (decision) this.longestWait = Math.max(this.longestWait, decision.delay);
    if (request.client === this.watched) this.sample(request.at);
    this.recent.unshift(outcome);
    if (this.recent.length > MAX_RECENT) this.recent.pop();
  }

  /** Records the watched bucket at the start of each interval up to `now`: until its next request it only fills. */
  advanceTo(now: number): void {
    while (this.timeline.end <= now) this.sample(this.timeline.end);
  }

  /** The limits of the watched client's bucket. */
  limitsAt(now: number): ReturnType<Simulation['limitsAt']> {
    return this.simulation.limitsAt({ at: now, client: this.watched });
  }

  headersOf(outcome: Outcome): Record<string, string> {
    return this.simulation.headersOf(outcome);
  }

  private sample(at: number): void {
    const shares = this.limitsAt(at).map(({ remaining, limit }) => remaining / limit);
    this.timeline.sample(at, Math.min(1, ...shares));
  }

  private countRejection(client: string): void {
    const { rejections } = this;
    const before = rejections.get(client);
    if (before !== undefined || rejections.size < MAX_CLIENTS) rejections.set(client, (before ?? 0) + 1);
  }
}

/** How an outcome is counted. */
export function kindOf({ decision }: Outcome): Count {
  if (!decision) return 'admitted';
  if (!decision.allowed) return 'rejected';
  return decision.delay > 0 ? 'queued' : 'admitted';
}
