import { type ExecutionContext, Inject, Injectable, type Type } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { endAnswered, isAnswered } from '../context/answered.js';
import { typeOf } from '../context/readers.js';
import { toDecision } from '../core/answer.js';
import type { Decision, StoreAnswer } from '../core/decision.js';
import { deniesAll, denyAll } from '../core/resolved-policy.js';
import { RateLimitStoreError } from '../exceptions/rate-limit-store.error.js';
import { decisions, failures } from '../observe/channels.js';
import { logger, warnOnce } from '../observe/logger.js';
import { publishDecision } from '../observe/messages.js';
import { RejectionLog } from '../observe/rejection-log.js';
import { PARSED_OPTIONS, type ParsedModuleOptions } from '../policy/parsed-options.js';
import type { Plan } from '../policy/plan.js';
import { PlanRegistry } from '../policy/plan-registry.js';
import type { RequestPolicy } from '../policy/request-policy.js';
import { type RequestTake, resolveMessage } from '../policy/request-take.js';
import { RateLimitStore } from '../stores/rate-limit.store.js';
import { SuspendableGuard, type SuspendableRequestContext } from '../suspend/suspendable.guard.js';
import type { Transport } from '../transport/transport.js';
import { transportOf } from '../transport/transports.js';
import { brand } from '../util/brand.js';
import { chain, isPromise } from '../util/maybe-promise.js';
import { canReplaceResult, replaceResult } from './rate-limit.interceptor.js';
import { settleAtEnd } from './settlement.js';
import { WaitQueue } from './wait-queue.js';

/** Set on the execution context of a counted request, so that a guard that is bound twice counts it once. */
const COUNTED = Symbol('nest-rate-limit:counted');

/** Shared by all guards, so that each policy logs at most one line per minute. */
const rejections = new RejectionLog((line) => logger.log(line));

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
    private readonly plans: PlanRegistry,
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

  private takeAll(context: SuspendableRequestContext, plan: Plan, all: readonly RequestTake[]): void | Promise<void> {
    const takes = all.length === 1 && !all[0].requestPolicy.dryRun ? all : this.takeDryRuns(context, all);
    return takes.length > 0 ? this.take(context, plan, takes) : undefined;
  }

  /** Takes for all dry runs, and returns the other takes. */
  private takeDryRuns(context: SuspendableRequestContext, all: readonly RequestTake[]): readonly RequestTake[] {
    for (const take of all) if (take.requestPolicy.dryRun) this.takeDryRun(context, take);
    return all.filter(({ requestPolicy }) => !requestPolicy.dryRun);
  }

  /** Takes from the bucket of a dry run; the request does not depend on the answer. */
  private takeDryRun(context: SuspendableRequestContext, take: RequestTake): void {
    const takes = [{ ...take, maxWait: 0 }];
    Promise.resolve(deniesAll(take.policy) ? denyAll(takes) : this.store.run({ verb: 'take', takes }))
      .then((answer) => {
        publishDecision(answer, takes, typeOf(context), true);
        if (!answer.allowed) rejections.note(answer.policy, true);
      })
      .catch(() => {});
  }

  private take(context: SuspendableRequestContext, plan: Plan, wanted: readonly RequestTake[]): void | Promise<void> {
    const denying = plan.hasResolvers ? denyingTakes(wanted) : undefined;
    if (denying) return this.applyAnswer(context, plan, denying, denyAll(denying));
    const mayWait = wanted.some(({ maxWait }) => maxWait > 0);
    const isFull = mayWait && this.queue.isFull;
    // Without `maxWait`, because a reservation that is cancelled takes time that no other request can use.
    const takes = isFull ? wanted.map((take) => ({ ...take, maxWait: 0 })) : wanted;
    const answer = this.store.run({ verb: 'take', takes });
    if (!isPromise(answer)) return this.applyAnswer(context, plan, takes, answer);
    return this.applyPending(context, plan, takes, answer, mayWait && !isFull ? this.queue.countPending() : undefined);
  }

  private applyPending(
    context: SuspendableRequestContext,
    plan: Plan,
    takes: readonly RequestTake[],
    answer: Promise<StoreAnswer>,
    stopCounting: (() => void) | undefined,
  ): Promise<void> {
    return answer.then(
      (resolved) => {
        stopCounting?.();
        return this.applyAnswer(context, plan, takes, resolved);
      },
      (error) => {
        stopCounting?.();
        return this.failWith(context, takes, error);
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
    const transport = transportOf(context);
    // In failure mode 'open' nothing is counted, so there is nothing to report.
    if (answer.source !== 'open') {
      const { headers } = this.options;
      const { httpAdapter } = this.adapterHost;
      const written = transport.writeHeaders?.(context, answer, headers, plan.headersOf(takes), httpAdapter);
      if (written === false && isAnswered(context)) return this.discard(context, plan, takes, answer);
    }
    if (!answer.allowed) return this.reject(context, transport, takes, answer);
    if (answer.delay > 0) this.enqueue(context, plan, takes, answer);
    else this.admit(context, plan, takes, answer);
  }

  private enqueue(
    context: SuspendableRequestContext,
    plan: Plan,
    takes: readonly RequestTake[],
    answer: StoreAnswer,
  ): void {
    this.queue.enqueue(context, takes, answer, () => this.admit(context, plan, takes, answer));
  }

  private admit(context: ExecutionContext, plan: Plan, takes: readonly RequestTake[], answer: StoreAnswer): void {
    if (plan.settles) settleAtEnd(context, takes, this.store, answer.source);
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

  /** Rejects the request, unless `onLimited` of the policy or the module has another answer. */
  private reject(
    context: SuspendableRequestContext,
    transport: Transport,
    takes: readonly RequestTake[],
    answer: StoreAnswer,
  ): void | Promise<void> {
    rejections.note(answer.policy);
    const decision = toDecision(answer);
    const policy = takes.find((take) => take.policy.labels.includes(answer.policy))?.requestPolicy;
    const onLimited = policy?.onLimited ?? this.options.onLimited;
    if (!onLimited) warnIfUnanswered(context, transport, answer.policy);
    if (!onLimited || !canReplaceResult(context, transport)) {
      return this.throwRejection(context, transport, policy, decision);
    }
    return chain(onLimited(context, decision), (value) => {
      if (value === undefined) return this.throwRejection(context, transport, policy, decision);
      return replaceResult(context, value, this.adapterHost.httpAdapter);
    });
  }

  private throwRejection(
    context: SuspendableRequestContext,
    transport: Transport,
    policy: RequestPolicy | undefined,
    decision: Decision,
  ): Promise<never> {
    const error = chain(resolveMessage(policy?.message ?? this.options.message, context, decision), (message) =>
      transport.rejection(decision, message, context),
    );
    if (!isPromise(error)) throw error;
    return error.then(rethrow);
  }

  private failWith(context: SuspendableRequestContext, takes: readonly RequestTake[], error: unknown): Promise<never> {
    if (!(error instanceof RateLimitStoreError)) throw error;
    const [{ policy }] = takes;
    if (failures.hasSubscribers) failures.publish({ policy: policy.name, transport: typeOf(context), error });
    const unavailable = transportOf(context).unavailable(context, error, this.adapterHost.httpAdapter);
    if (!isPromise(unavailable)) throw unavailable;
    return unavailable.then(rethrow);
  }
}

/** The takes of limits that were resolved to 0, which need no store; `undefined` if there are none. */
function denyingTakes(takes: readonly RequestTake[]): readonly RequestTake[] | undefined {
  const denying = takes.filter(({ policy }) => deniesAll(policy));
  return denying.length > 0 ? denying : undefined;
}

/** An event has no sender that learns of its rejection. */
function warnIfUnanswered(context: ExecutionContext, transport: Transport, policy: string): void {
  const hint = transport.unansweredHint?.(context);
  if (hint) warnOnce.about(`unanswered by ${policy}`, `Policy ${policy} denied a message: ${hint}`);
}

function rethrow(error: Error): never {
  throw error;
}
