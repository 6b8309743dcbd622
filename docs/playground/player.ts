import type { Plan } from '../../src/policy/plan.js';
import { clientName, type Load, requestsOf } from './load.js';
import { Run } from './run.js';
import type { LoggedRequest } from './simulate.js';

/** A multiple of every common period, in ms since 1970, so that refills of `'intervally'` begin at 0. */
const START = 1_814_400_000_000;
/** The most requests that are kept, to be replayed when a policy changes. */
export const MAX_REQUESTS = 100_000;

/** Plays a load to several candidates on a virtual clock. A candidate that changes gets all requests again. */
export class Player {
  /** ms since 1970, like `now`. */
  start = START;
  now = START;
  runs: (Run | undefined)[] = [];
  private plans: readonly (Plan | undefined)[] = [];
  private watched = clientName(0);
  private readonly sent: LoggedRequest[] = [];
  private pending: Iterator<LoggedRequest> = [].values();
  private next: LoggedRequest | undefined;

  /** The number of requests so far. */
  get requests(): number {
    return this.sent.length;
  }

  /** Whether no more requests are accepted until `load`. */
  get isFull(): boolean {
    return this.sent.length >= MAX_REQUESTS;
  }

  /** Whether the load has more requests. */
  get hasNext(): boolean {
    return this.next !== undefined && !this.isFull;
  }

  /** Starts again with a load, or with the requests of a log in their order. */
  load(load: Load, log: readonly LoggedRequest[] = []): void {
    const isLog = load.kind === 'log';
    this.start = (isLog && log[0]?.at) || START;
    this.now = this.start;
    this.sent.length = 0;
    this.pending = isLog ? log.values() : requestsOf(load, START);
    this.pull();
    this.runs = this.plans.map((plan) => this.newRun(plan));
  }

  /** Replaces the candidates; those that are not valid are `undefined`. */
  compare(plans: readonly (Plan | undefined)[]): void {
    const { plans: before, runs } = this;
    this.plans = plans;
    this.runs = plans.map((plan, i) => (plan && plan === before[i] ? runs[i] : this.newRun(plan)));
  }

  /** Chooses the client whose buckets are plotted. */
  watch(client: string): void {
    if (client === this.watched) return;
    this.watched = client;
    this.runs = this.plans.map((plan) => this.newRun(plan));
  }

  /** Lets the time pass until `now`, with the requests that are due. */
  advanceTo(now: number): void {
    while (this.next && this.next.at <= now && !this.isFull) this.sendNext(this.next);
    if (this.isFull) return;
    this.now = Math.max(this.now, now);
    for (const run of this.runs) run?.advanceTo(this.now);
  }

  /** Lets the time pass until the next request of the load. */
  step(): void {
    if (this.next && !this.isFull) this.sendNext(this.next);
  }

  /** Sends requests now. */
  send(client: string, count: number): void {
    for (let i = 0; i < count; i++) this.deliver({ at: this.now, client });
  }

  private sendNext(request: LoggedRequest): void {
    this.pull();
    this.deliver(request);
  }

  private deliver(request: LoggedRequest): void {
    if (this.isFull) return;
    this.now = Math.max(this.now, request.at);
    const sent = request.at === this.now ? request : { ...request, at: this.now };
    this.sent.push(sent);
    for (const run of this.runs) run?.send(sent);
  }

  private pull(): void {
    const { value, done } = this.pending.next();
    this.next = done ? undefined : value;
  }

  private newRun(plan: Plan | undefined): Run | undefined {
    if (!plan) return undefined;
    const run = new Run(plan, this.start, this.watched);
    for (const request of this.sent) run.send(request);
    run.advanceTo(this.now);
    return run;
  }
}
