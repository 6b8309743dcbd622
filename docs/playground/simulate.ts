import { toDecision } from '../../src/core/answer.js';
import type { Decision, LimitState } from '../../src/core/decision.js';
import type { Plan } from '../../src/policy/plan.js';
import { compilePlan } from '../../src/policy/plan-compiler.js';
import { toPolicyInputs } from '../../src/policy/rate-limit.options.js';
import type { RequestTake } from '../../src/policy/request-take.js';
import { MemoryStore } from '../../src/stores/memory/memory.store.js';
import type { HeaderSet } from '../../src/transport/header-formats.js';
import { writeHeaders } from '../../src/transport/headers.js';

/** A request of a load or of a log. */
export interface LoggedRequest {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly client: string;
}

/** What became of a request. */
export interface Outcome {
  readonly request: LoggedRequest;
  /** `undefined` if no policy applies, because of `skip` or a cost of 0. */
  readonly decision: Decision | undefined;
}

/** Where the policies are declared, as error messages and headers name it. Minifiers would rename a declared class. */
const CONTROLLER = Object.defineProperty(class {}, 'name', { value: 'OrdersController' });
const HANDLER = { type: CONTROLLER, property: 'list' };

type Context = Parameters<Plan['resolveTakes']>[0];

/** Compiles the argument of `@RateLimit`. Throws the error with which an application would not start. */
export function compile(input: unknown): Plan {
  return compilePlan(
    HANDLER,
    { inputs: toPolicyInputs(input), from: 'handler' },
    {
      named: new Map(),
      default: [],
      key: (context) => (context as unknown as LoggedRequest).client,
      resolvers: () => undefined,
      nameOf: ({ name }) => name,
    },
  );
}

/**
 * Decides requests by policies as the guard does, at the times of the requests. Uses constant memory: `maxBuckets` as for
 * `MemoryStore`. Requests are in the order of their times; one that is late is decided at the time of the latest before.
 */
export class Simulation {
  private now = 0;
  private readonly store: MemoryStore;

  constructor(
    private readonly plan: Plan,
    maxBuckets = 100_000,
  ) {
    const clock = { now: () => this.now, sleep: () => Promise.resolve() };
    this.store = new MemoryStore({ clock, maxBuckets });
    this.store.close(); // new buckets replace full ones; no timer is needed
  }

  /** The number of buckets kept now. */
  get size(): number {
    return this.store.size;
  }

  /** Takes what the request costs. */
  send(request: LoggedRequest): Outcome {
    const takes = this.takesAt(request);
    if (takes.length === 0) return { request, decision: undefined };
    return { request, decision: toDecision(this.store.run({ verb: 'take', takes })) };
  }

  /** The state of the limits that apply to a client. */
  limitsAt(request: LoggedRequest): readonly LimitState[] {
    const takes = this.takesAt(request).map((take) => ({ ...take, amount: 0 }));
    return takes.length === 0 ? [] : toDecision(this.store.run({ verb: 'estimate', takes })).limits;
  }

  /** The headers of the response. */
  headersOf({ request, decision }: Outcome, sets: readonly HeaderSet[] = ['draft-11']): Record<string, string> {
    const headers: Record<string, string> = {};
    if (!decision) return headers;
    const setHeader = (_response: unknown, name: string, value: string) => {
      headers[name] = value;
    };
    writeHeaders(decision, sets, this.plan.headersOf(this.takesOf(request)), { setHeader }, undefined);
    return headers;
  }

  private takesAt(request: LoggedRequest): readonly RequestTake[] {
    this.now = Math.max(this.now, request.at);
    return this.takesOf(request);
  }

  private takesOf(request: LoggedRequest): readonly RequestTake[] {
    // Only functions and classes return promises, and the options of a simulation have none.
    return this.plan.resolveTakes(request as unknown as Context) as readonly RequestTake[];
  }
}

/** Replays a log, one request at a time. */
export function* simulate(plan: Plan, log: Iterable<LoggedRequest>): Generator<Outcome> {
  const simulation = new Simulation(plan);
  for (const request of log) yield simulation.send(request);
}
