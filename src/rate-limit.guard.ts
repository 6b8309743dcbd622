import { type ExecutionContext, Inject, Injectable, type Type } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { Decision, StoreAnswer } from './core/decision.js';
import { mergeTakes, type Take } from './core/request.js';
import { chain, isPromise } from './maybe-promise.js';
import type { ParsedModuleOptions } from './module-options.js';
import type { Plan } from './plan.js';
import { PARSED_OPTIONS, Plans } from './plans.js';
import { type PlannedTake, plannedTake } from './policy-use.js';
import { DEFAULT_MESSAGE, RateLimitUnavailableException, refusal } from './rate-limit.exception.js';
import type { MaybePromise } from './rate-limit.options.js';
import { settleLater } from './settle.js';
import { RateLimitStore, RateLimitStoreError } from './stores/rate-limit.store.js';
import { SuspendableGuard, type SuspendableRequestContext } from './suspend/suspendable.guard.js';
import { policyHeader, writeHeaders } from './transport/headers.js';

/** On the execution context of a request that was counted, so that a guard that is bound twice counts once. */
const COUNTED = Symbol('nest-rate-limit:counted');

/** How much longer than its place in line a request may be suspended. */
const GRACE = 30_000;

/**
 * Asks the store for each request to a handler with a plan: passes it, lets it wait in line, or refuses it with
 * `RateLimitExceededException`. The module binds it to all handlers. With a store in memory and constant options it is
 * synchronous: `canActivate` returns `true` or throws.
 */
@Injectable()
export class RateLimitGuard extends SuspendableGuard {
  /** Requests that wait in line, or may have to. */
  private waiting = 0;

  constructor(
    private readonly plans: Plans,
    private readonly store: RateLimitStore,
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
    private readonly adapterHost: HttpAdapterHost,
  ) {
    super(store.clock);
  }

  override canActivate(execution: ExecutionContext & { [COUNTED]?: boolean }): boolean | Promise<boolean> {
    if (execution[COUNTED] || !this.plans.of(execution.getClass<unknown>(), execution.getHandler())) return true;
    execution[COUNTED] = true;
    return super.canActivate(execution);
  }

  protected override filter(context: SuspendableRequestContext): void | Promise<void> {
    const plan = this.plans.of(context.getClass<unknown>() as Type, context.getHandler()) as Plan;
    const { single } = plan;
    if (!single) return chain(plan.takes(context), (planned) => this.takeAll(context, plan, planned));
    return chain(single.key(context), (key) => {
      const take = plannedTake(single, key, single.amount);
      return this.take(context, plan, [take], [{ use: single, take }]);
    });
  }

  private takeAll(context: SuspendableRequestContext, plan: Plan, all: readonly PlannedTake[]): void | Promise<void> {
    const planned = all.filter(({ use }) => !use.dryRun);
    for (const { use, take } of all) {
      // A policy on trial takes from its own bucket, and whatever comes of it is nobody's answer.
      if (use.dryRun)
        void Promise.resolve(this.store.run({ verb: 'take', takes: [{ ...take, maxWait: 0 }] })).catch(() => {});
    }
    if (planned.length === 0) return;
    return this.take(context, plan, mergeTakes(planned.map(({ take }) => take)), planned);
  }

  private take(
    context: SuspendableRequestContext,
    plan: Plan,
    takes: readonly Take[],
    planned: readonly PlannedTake[],
  ): void | Promise<void> {
    return chain(this.ask(context, takes), (answer) => {
      const full = answer.delay > 0 && this.waiting >= this.options.maxSuspended;
      const decision = full ? refusedWait(answer) : answer;
      this.writeHeaders(context, plan, planned, decision);
      if (full) this.giveBack(takes, answer);
      if (!decision.allowed) throw this.refuse(context, planned, decision);
      settleLater(context, planned, this.store, answer.source);
      return decision.delay > 0 ? this.waitInLine(context, takes, answer) : undefined;
    });
  }

  private ask(context: SuspendableRequestContext, takes: readonly Take[]): MaybePromise<StoreAnswer> {
    const answer = this.store.run({ verb: 'take', takes });
    return isPromise(answer) ? answer.catch((error) => this.failWith(context, error)) : answer;
  }

  private failWith(context: SuspendableRequestContext, error: unknown): never {
    if (!(error instanceof RateLimitStoreError)) throw error;
    if (context.getType() === 'http') this.setHeader(context, 'Retry-After', '1');
    throw new RateLimitUnavailableException(error);
  }

  /** The place in line is taken; until it comes up, the request stands still. */
  private waitInLine(context: SuspendableRequestContext, takes: readonly Take[], answer: StoreAnswer): void {
    const suspension = context.suspend({ timeout: answer.delay + GRACE });
    this.waiting++;
    suspension.onSettled(() => {
      this.waiting--;
    });
    this.store.clock.sleep(answer.delay, suspension.signal).then(
      () => suspension.resume(),
      () => this.giveBack(takes, answer),
    );
  }

  /** Nobody will act on this reservation any more. */
  private giveBack(takes: readonly Take[], { actAt, source }: StoreAnswer): void {
    Promise.resolve(this.store.run({ verb: 'cancel', takes, actAt, source })).catch(() => {});
  }

  private writeHeaders(
    context: SuspendableRequestContext,
    plan: Plan,
    planned: readonly PlannedTake[],
    decision: Decision,
  ): void {
    if (context.getType() !== 'http') return;
    const policies = plan.policyHeader ?? policyHeader(planned.map(({ use }) => use.policy));
    writeHeaders(decision, this.options.headers, policies, (name, value) => this.setHeader(context, name, value));
  }

  private setHeader(context: SuspendableRequestContext, name: string, value: string): void {
    this.adapterHost.httpAdapter.setHeader(context.switchToHttp().getResponse<unknown>(), name, value);
  }

  private refuse(context: SuspendableRequestContext, planned: readonly PlannedTake[], decision: Decision): Error {
    const refusing = planned.find(({ use }) => use.policy.labels.includes(decision.policy));
    const given = refusing?.use.message;
    const message = typeof given === 'function' ? given(context, decision) : given;
    if (typeof message === 'object') return refusal(decision, message);
    return refusal(decision, { statusCode: 429, message: message ?? DEFAULT_MESSAGE });
  }
}

/** A wait that nobody may join any more is a refusal. */
function refusedWait(answer: StoreAnswer): Decision {
  return { ...answer, limits: answer.limits, allowed: false, retryAfter: answer.delay, delay: 0 };
}
