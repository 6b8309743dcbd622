import { type ExecutionContext, Inject, Injectable, type Type } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { SlotAnswer, SlotRequest } from '../concurrency/slot-request.js';
import { slotsOf } from '../concurrency/slots.js';
import { endAnswered, isAnswered } from '../context/answered.js';
import { typeOf } from '../context/readers.js';
import type { StoreAnswer } from '../core/decision.js';
import { deniesAll, denyAll } from '../core/resolved-policy.js';
import { hasSlots } from '../core/slots.js';
import { decisions } from '../observe/channels.js';
import { warnOnce } from '../observe/logger.js';
import { publishDecision } from '../observe/messages.js';
import { PARSED_OPTIONS, type ParsedModuleOptions } from '../policy/parsed-options.js';
import type { Plan } from '../policy/plan.js';
import { PlanRegistry } from '../policy/plan-registry.js';
import { isPlain, type RequestTake } from '../policy/request-take.js';
import { RateLimitStore } from '../stores/rate-limit.store.js';
import { SuspendableGuard, type SuspendableRequestContext } from '../suspend/suspendable.guard.js';
import { transportOf } from '../transport/transports.js';
import { brand } from '../util/brand.js';
import { chain, isPromise, type MaybePromise } from '../util/maybe-promise.js';
import { rejectDenied, rejections, rejectUnavailable } from './reject.js';
import { track } from './settlements.js';
import { holdUntilEnd } from './slot-hold.js';
import { maxHoldOf, SlotWait } from './slot-wait.js';
import { WaitQueue } from './wait-queue.js';

/** Set on the execution context of a counted request, so that a guard that is bound twice counts it once. */
const COUNTED = Symbol('nest-rate-limit:counted');

/**
 * Queries the store for each request to a limited handler: admits the request, queues it, or rejects it with
 * `RateLimitExceededException`. The module binds it to all handlers. With a memory store and constant options it is
 * synchronous: `canActivate` returns `true` or throws.
 */
@Injectable()
export class RateLimitGuard extends SuspendableGuard {
  static {
    brand(this, 'RateLimitGuard');
  }

  constructor(
    @Inject(PlanRegistry) private readonly plans: Pick<PlanRegistry, 'of'>,
    private readonly store: RateLimitStore,
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
    private readonly adapterHost: HttpAdapterHost,
    private readonly queue: WaitQueue,
  ) {
    super(store.clock);
  }

  override canActivate(execution: ExecutionContext & { [COUNTED]?: boolean }): boolean | Promise<boolean> {
    if (execution[COUNTED] || !this.plans.of(execution.getClass<unknown>(), execution.getHandler())) return true;
    execution[COUNTED] = true;
    const { skip } = this.options;
    if (!skip) return super.canActivate(execution);
    return chain(skip(execution), (skipped) => (skipped ? true : super.canActivate(execution)));
  }

  /** Ends all waits with 503, and cancels their reservations while the store is still open. */
  override async onModuleDestroy(): Promise<void> {
    const answered = super.onModuleDestroy();
    // All waiters have abandoned their reservations by then.
    await new Promise(setImmediate);
    await this.queue.cancelAbandoned();
    await answered;
    rejections.close();
    warnOnce.reset();
  }

  /*
   * From here to the headers V8 inlines what a request needs into two functions, if they stay short. What most requests
   * do not need, and all that creates closures, is therefore in methods of its own.
   */

  protected override filter(context: SuspendableRequestContext): void | Promise<void> {
    const plan = this.plans.of(context.getClass<unknown>() as Type, context.getHandler()) as Plan;
    const takes = plan.resolveTakes(context);
    return isPromise(takes) ? this.takeResolved(context, plan, takes) : this.takeAll(context, plan, takes);
  }

  private takeResolved(
    context: SuspendableRequestContext,
    plan: Plan,
    takes: Promise<readonly RequestTake[]>,
  ): Promise<void> {
    return takes.then((resolved) => this.takeAll(context, plan, resolved));
  }

  private takeAll(context: SuspendableRequestContext, plan: Plan, takes: readonly RequestTake[]): void | Promise<void> {
    if (takes.length === 0) return;
    return plan.isPlain || isPlain(takes)
      ? this.take(context, plan, takes, false)
      : this.takeChecked(context, plan, takes);
  }

  /** Takes for dry runs separately, without the store for limits of 0, and without `maxWait` if the queue is full. */
  private takeChecked(
    context: SuspendableRequestContext,
    plan: Plan,
    all: readonly RequestTake[],
  ): void | Promise<void> {
    const takes = this.takeDryRuns(context, all);
    if (takes.length === 0) return;
    const denying = takes.filter(({ policy }) => deniesAll(policy));
    if (denying.length > 0) return this.applyAnswer(context, plan, denying, denyAll(denying));
    // A reservation that is cancelled takes time that no other request can use.
    const queued = this.queue.isFull ? takes.map((take) => ({ ...take, maxWait: 0 })) : takes;
    const mayWait = queued.some(({ maxWait }) => maxWait > 0);
    return hasSlots(takes) ? this.takeSlots(context, plan, queued, mayWait) : this.take(context, plan, queued, mayWait);
  }

  /** Takes for all dry runs, and returns the other takes. */
  private takeDryRuns(context: SuspendableRequestContext, all: readonly RequestTake[]): readonly RequestTake[] {
    for (const take of all) if (take.requestPolicy.dryRun) this.takeDryRun(context, take);
    return all.filter(({ requestPolicy }) => !requestPolicy.dryRun);
  }

  /** Takes from the bucket of a dry run; the request does not depend on the answer. */
  private takeDryRun(context: SuspendableRequestContext, take: RequestTake): void {
    const takes = [{ ...take, maxWait: 0 }];
    Promise.resolve(deniesAll(take.policy) ? denyAll(takes) : this.answerOfDryRun(context, takes))
      .then((answer) => {
        publishDecision(answer, takes, typeOf(context), true);
        if (!answer.allowed) rejections.note(answer.policy, true);
      })
      .catch(() => {});
  }

  private answerOfDryRun(context: SuspendableRequestContext, takes: readonly RequestTake[]): MaybePromise<StoreAnswer> {
    if (!hasSlots(takes)) return this.store.run({ verb: 'take', takes });
    return chain(this.acquire(context, takes), ({ answer }) => answer);
  }

  /** Takes slots, which are then held until the request ends, and the tokens of the other limits. */
  private acquire(
    context: SuspendableRequestContext,
    takes: readonly RequestTake[],
    wait = new SlotWait(context, takes, this.store.clock),
  ): MaybePromise<SlotAnswer> {
    const queue: SlotRequest['queue'] = (denial, abort) => wait.begin(denial, abort);
    return chain(slotsOf(this.store).acquire({ takes, maxHold: maxHoldOf(takes), queue }), (acquired) => {
      if (acquired.slot) holdUntilEnd(context, acquired.slot, this.store);
      return acquired;
    });
  }

  /** Like `take`. While the request waits for a slot, it is suspended. */
  private takeSlots(
    context: SuspendableRequestContext,
    plan: Plan,
    takes: readonly RequestTake[],
    mayWait: boolean,
  ): void | Promise<void> {
    const wait = new SlotWait(context, takes, this.store.clock);
    const answer = chain(this.acquire(context, takes, wait), (acquired) => acquired.answer);
    if (!isPromise(answer)) return this.applyAnswer(context, plan, takes, answer);
    const ended = answer.then(
      (last) => {
        wait.answered(last);
        return last;
      },
      (error) => {
        wait.failed();
        throw error;
      },
    );
    return this.applyPending(context, plan, takes, ended, mayWait);
  }

  private take(
    context: SuspendableRequestContext,
    plan: Plan,
    takes: readonly RequestTake[],
    mayWait: boolean,
  ): void | Promise<void> {
    const answer = this.store.run({ verb: 'take', takes });
    if (!isPromise(answer)) return this.applyAnswer(context, plan, takes, answer);
    return this.applyPending(context, plan, takes, answer, mayWait);
  }

  private applyPending(
    context: SuspendableRequestContext,
    plan: Plan,
    takes: readonly RequestTake[],
    answer: Promise<StoreAnswer>,
    mayWait: boolean,
  ): Promise<void> {
    const stopCounting = mayWait ? this.queue.countPending() : undefined;
    return answer.then(
      (resolved) => {
        stopCounting?.();
        return this.applyAnswer(context, plan, takes, resolved);
      },
      (error) => {
        stopCounting?.();
        return rejectUnavailable(context, takes, error, this.adapterHost.httpAdapter);
      },
    );
  }

  /** Admits, queues or rejects the request. */
  private applyAnswer(
    context: SuspendableRequestContext,
    plan: Plan,
    takes: readonly RequestTake[],
    answer: StoreAnswer,
  ): void | Promise<void> {
    if (decisions.hasSubscribers) publishDecision(answer, takes, typeOf(context));
    let written: boolean | undefined = true;
    // In failure mode 'open' nothing is counted, so there is nothing to report.
    if (answer.source !== 'open') {
      const { headers } = this.options;
      const { httpAdapter } = this.adapterHost;
      written = transportOf(context).writeHeaders?.(context, answer, headers, plan.headersOf(takes), httpAdapter);
    }
    if (written === false || !answer.allowed || answer.delay > 0) return this.hold(context, plan, takes, answer);
    this.admit(context, plan, takes, answer);
  }

  /** Applies an answer other than to admit the request at once. */
  private hold(
    context: SuspendableRequestContext,
    plan: Plan,
    takes: readonly RequestTake[],
    answer: StoreAnswer,
  ): void | Promise<void> {
    if (isAnswered(context)) return this.discard(context, plan, takes, answer);
    if (!answer.allowed) return rejectDenied(context, takes, answer, this.options, this.adapterHost.httpAdapter);
    if (answer.delay > 0) this.queue.enqueue(context, takes, answer, () => this.admit(context, plan, takes, answer));
    else this.admit(context, plan, takes, answer);
  }

  private admit(context: ExecutionContext, plan: Plan, takes: readonly RequestTake[], answer: StoreAnswer): void {
    if (plan.isTracked) track(context, plan, takes, this.store, answer);
  }

  /** Other code has answered the request: a reserved place is released, and a cost is settled by that response. */
  private discard(
    context: SuspendableRequestContext,
    plan: Plan,
    takes: readonly RequestTake[],
    answer: StoreAnswer,
  ): Promise<never> {
    if (answer.delay > 0) this.queue.release({ takes, answer });
    else if (answer.allowed) this.admit(context, plan, takes, answer);
    return endAnswered(context);
  }
}
