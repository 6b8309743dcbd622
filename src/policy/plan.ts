import type { ExecutionContext } from '@nestjs/common';
import type { Policy } from '../core/policy.js';
import { mergeTakes } from '../core/request.js';
import { exemptsAll } from '../core/resolved-policy.js';
import type { FixedHeaders } from '../transport/header-formats.js';
import { fixedHeaders } from '../transport/headers.js';
import { chain, isPromise, type MaybePromise, resolveEach } from '../util/maybe-promise.js';
import type { HandlerParameter } from './handler-parameters.js';
import type { RequestPolicy } from './request-policy.js';
import { type RequestTake, resolveTake, toTake } from './request-take.js';
import type { ResolveFn } from './resolvable.js';

/** Where a policy of a handler comes from: it is fixed, or resolved per request. */
export type PolicySource = RequestPolicy | ResolveFn<RequestPolicy>;

const NOTHING: readonly RequestTake[] = [];

/** What the guard does for one handler; compiled once. */
export class Plan {
  /** Set if a single policy of a fixed cost is all there is: only its key is resolved. */
  private readonly single: RequestPolicy | undefined;
  /** Set if a single policy that is resolved per request is all there is. */
  private readonly resolver: ResolveFn<RequestPolicy> | undefined;
  /** Set if all policies are fixed. */
  private readonly headers: FixedHeaders | undefined;
  /** Whether admitted requests are followed to their end, or seen by their handler. */
  readonly isTracked: boolean;
  /** Whether requests may take slots of concurrency limits. */
  readonly takesSlots: boolean;
  /** Whether every request is one take that neither waits nor is a dry run. */
  readonly isPlain: boolean;

  private readonly sources: readonly PolicySource[];

  constructor(
    sources: readonly PolicySource[],
    /** The parameters of the handler that are injected. */
    readonly parameters: readonly HandlerParameter[] = [],
  ) {
    this.sources = parameters.includes('cost') ? sources.map(toReported) : sources;
    const fixed = this.sources.filter((source) => typeof source !== 'function');
    const [first] = fixed;
    const isFixed = fixed.length === sources.length;
    this.isTracked = !isFixed || parameters.length > 0 || fixed.some(({ isSettled }) => isSettled);
    this.takesSlots = !isFixed || fixed.some(({ policy }) => policy.slotIndex >= 0);
    if (sources.length === 1) {
      const [source] = this.sources;
      if (first?.hasFixedCost) this.single = first;
      if (typeof source === 'function') this.resolver = source;
    }
    this.isPlain = this.single?.isPlain ?? false;
    if (isFixed) this.headers = fixedHeaders(fixed.map(({ policy }) => policy));
  }

  /** All policies, if they are fixed. */
  get policies(): readonly Policy[] | undefined {
    return this.headers && this.sources.flatMap((source) => (typeof source === 'function' ? [] : source.policy));
  }

  /** The headers that all answers to these takes have in common. */
  headersOf(takes: readonly RequestTake[]): FixedHeaders {
    // There are fewer takes than policies if one was skipped, is a dry run or was merged with another.
    if (this.headers && takes.length === this.sources.length) return this.headers;
    return takes.length === 1 ? takes[0].requestPolicy.headers : fixedHeaders(takes.map(({ policy }) => policy));
  }

  /** What a request takes, of all policies that apply to it. Takes from one bucket are merged, except those of dry runs. */
  resolveTakes(context: ExecutionContext): MaybePromise<readonly RequestTake[]> {
    const { single, resolver } = this;
    if (single) return takesOf(single, context);
    if (!resolver) return this.resolveAll(context);
    const resolved = resolver(context);
    return isPromise(resolved) ? takesOfPending(resolved, context) : takesOfResolved(resolved, context);
  }

  private resolveAll(context: ExecutionContext): MaybePromise<readonly RequestTake[]> {
    const takes = resolveEach(this.sources, (source) =>
      typeof source === 'function'
        ? chain(source(context), (resolved) => takeOfResolved(resolved, context))
        : resolveTake(source, context),
    );
    return chain(takes, merge);
  }
}

/** The same source for a handler that reports its costs. */
function toReported(source: PolicySource): PolicySource {
  const reported = (policy: RequestPolicy): RequestPolicy => ({ ...policy, isReported: true, isSettled: true });
  return typeof source === 'function' ? (context) => chain(source(context), reported) : reported(source);
}

/** The take of a policy of a fixed cost. */
function takesOf(policy: RequestPolicy, context: ExecutionContext): MaybePromise<readonly RequestTake[]> {
  const cost = policy.cost as number;
  const key = policy.key(context);
  if (!isPromise(key)) return listOf(toTake(policy, key, cost));
  return Promise.resolve(key).then((resolved) => listOf(toTake(policy, resolved, cost)));
}

function takesOfPending(pending: Promise<RequestPolicy>, context: ExecutionContext): Promise<readonly RequestTake[]> {
  return pending.then((resolved) => takesOfResolved(resolved, context));
}

/** What one policy takes that was resolved for this request. */
function takesOfResolved(resolved: RequestPolicy, context: ExecutionContext): MaybePromise<readonly RequestTake[]> {
  if (resolved.isPlain) return takesOf(resolved, context);
  return chain(takeOfResolved(resolved, context), listOf);
}

function takeOfResolved(resolved: RequestPolicy, context: ExecutionContext): MaybePromise<RequestTake | undefined> {
  return exemptsAll(resolved.policy) ? undefined : resolveTake(resolved, context);
}

function listOf(take: RequestTake | undefined): readonly RequestTake[] {
  return take ? [take] : NOTHING;
}

function merge(all: readonly (RequestTake | undefined)[]): readonly RequestTake[] {
  const takes = all.filter((take) => take !== undefined);
  const dryRuns = takes.filter(({ requestPolicy }) => requestPolicy.dryRun);
  return [...dryRuns, ...mergeTakes(takes.filter(({ requestPolicy }) => !requestPolicy.dryRun))];
}
