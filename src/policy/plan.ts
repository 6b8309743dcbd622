import type { ExecutionContext } from '@nestjs/common';
import { mergeTakes, type Take } from '../core/request.js';
import { exemptsAll } from '../core/resolved-policy.js';
import type { FixedHeaders } from '../transport/header-formats.js';
import { fixedHeaders } from '../transport/headers.js';
import { chain, isPromise, type MaybePromise, resolveEach } from '../util/maybe-promise.js';
import type { RequestPolicy } from './request-policy.js';
import { type RequestTake, resolveTake, toTake } from './request-take.js';
import type { ResolveFn } from './resolvable.js';

/** Where a policy of a handler comes from: it is fixed, or resolved per request. */
export type PolicySource = RequestPolicy | ResolveFn<RequestPolicy>;

type ConstantPolicy = RequestPolicy & { readonly cost: number };

const NOTHING: readonly RequestTake[] = [];

/** What the guard does for one handler; compiled once. */
export class Plan {
  /** Set if a single policy with a constant cost and without `skip` is all there is: only its key is resolved. */
  private readonly single: ConstantPolicy | undefined;
  /** Set if all policies are fixed. */
  private readonly headers: FixedHeaders | undefined;
  /** Whether costs may have to be settled afterwards. */
  readonly settles: boolean;
  /** Whether every request is one take that neither waits nor is a dry run. */
  readonly isPlain: boolean;

  constructor(private readonly sources: readonly PolicySource[]) {
    const fixed = sources.filter((source) => typeof source !== 'function');
    const [first] = fixed;
    const isFixed = fixed.length === sources.length;
    this.settles = !isFixed || fixed.some(({ isSettled }) => isSettled);
    if (sources.length === 1 && first && hasConstantCost(first) && !first.skip && !first.dryRun) this.single = first;
    this.isPlain = this.single?.maxWait === 0;
    if (isFixed) this.headers = fixedHeaders(fixed.map(({ policy }) => policy));
  }

  /** The headers that all answers to these takes have in common. */
  headersOf(takes: readonly Take[]): FixedHeaders {
    // There are fewer takes than policies if one was skipped, is a dry run or was merged with another.
    if (this.headers && takes.length === this.sources.length) return this.headers;
    return fixedHeaders(takes.map(({ policy }) => policy));
  }

  /** What a request takes, of all policies that apply to it. Takes from one bucket are merged, except those of dry runs. */
  resolveTakes(context: ExecutionContext): MaybePromise<readonly RequestTake[]> {
    const { single } = this;
    if (!single) return this.resolveAll(context);
    const key = single.key(context);
    return isPromise(key) ? takesOf(single, key) : listOf(toTake(single, key, single.cost));
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

function hasConstantCost(policy: RequestPolicy): policy is ConstantPolicy {
  return typeof policy.cost === 'number' && policy.cost > 0 && !policy.hasOwnCosts;
}

function takesOf(single: ConstantPolicy, key: PromiseLike<unknown>): Promise<readonly RequestTake[]> {
  return Promise.resolve(key).then((resolved) => listOf(toTake(single, resolved, single.cost)));
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
