import { type ExecutionContext, Inject, Injectable, Logger, type Type } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { ClientGoneError } from '../context/connection.js';
import { toDecision } from '../core/answer.js';
import type { Decision, StoreAnswer } from '../core/decision.js';
import { mergeTakes, type Take } from '../core/request.js';
import type { ParsedModuleOptions } from '../module/module-options.js';
import { failures, type WaitEnd } from '../observe/channels.js';
import { tellDecision, tellWait } from '../observe/messages.js';
import { RefusalLog } from '../observe/refusal-log.js';
import type { Plan } from '../policy/plan.js';
import { PARSED_OPTIONS, Plans, WaitingLine } from '../policy/plan-registry.js';
import type { RateLimitOptions } from '../policy/rate-limit.options.js';
import { forgetWarnings, type PlannedTake, plannedTake } from '../policy/request-take.js';
import { RateLimitStore, RateLimitStoreError } from '../stores/rate-limit.store.js';
import { SuspendableGuard, type SuspendableRequestContext } from '../suspend/suspendable.guard.js';
import { type Suspension, SuspensionTimeoutError } from '../suspend/suspension.js';
import { transportOf } from '../transport/transports.js';
import { chain, isPromise, type MaybePromise } from '../util/maybe-promise.js';
import { answerInstead, canAnswerInstead } from './rate-limit.interceptor.js';
import { settleLater } from './settlement.js';

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
  /** Reservations to be given back. */
  private readonly leaving: Leaving[] = [];

  constructor(
    private readonly plans: Plans,
    private readonly store: RateLimitStore,
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
    private readonly adapterHost: HttpAdapterHost,
    private readonly line: WaitingLine,
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

  /** Ends all that wait in line with 503, and gives their places back while the store is still there. */
  override async onModuleDestroy(): Promise<void> {
    super.onModuleDestroy();
    // Until all who waited have heard of it.
    await new Promise(setImmediate);
    await this.giveAllBack();
    refusals.close();
    forgetWarnings();
  }

  protected override filter(context: SuspendableRequestContext): void | Promise<void> {
    const plan = this.plans.of(context.getClass<unknown>() as Type, context.getHandler()) as Plan;
    const { single } = plan;
    if (!single) return chain(plan.takes(context), (takes) => this.takeAll(context, plan, takes));
    const key = single.key(context);
    if (isPromise(key))
      return Promise.resolve(key).then((told) => this.takeOne(context, plan, plannedTake(single, told, single.amount)));
    return this.takeOne(context, plan, plannedTake(single, key, single.amount));
  }

  private takeOne(context: SuspendableRequestContext, plan: Plan, take: PlannedTake | undefined): void | Promise<void> {
    return take && this.take(context, plan, [take]);
  }

  private takeAll(context: SuspendableRequestContext, plan: Plan, all: readonly PlannedTake[]): void | Promise<void> {
    for (const take of all) if (take.use.dryRun) this.tryOut(context, take);
    const takes = mergeTakes(all.filter(({ use }) => !use.dryRun));
    return takes.length > 0 ? this.take(context, plan, takes) : undefined;
  }

  /** A policy on trial takes from its own bucket, and whatever comes of it is nobody's answer. */
  private tryOut(context: SuspendableRequestContext, take: PlannedTake): void {
    const takes = [{ ...take, maxWait: 0 }];
    Promise.resolve(this.store.run({ verb: 'take', takes }))
      .then((answer) => {
        tellDecision(answer, takes, context.getType(), true);
        if (!answer.allowed) refusals.note(answer.policy, true);
      })
      .catch(() => {});
  }

  private take(context: SuspendableRequestContext, plan: Plan, wanted: readonly PlannedTake[]): void | Promise<void> {
    const patient = wanted.some(({ maxWait }) => maxWait > 0);
    const full = patient && this.line.waiting >= this.options.maxSuspended;
    // Asked for without patience, because a place in line that is given back would leave a hole in it.
    const takes = full ? wanted.map((take) => ({ ...take, maxWait: 0 })) : wanted;
    const answer = this.store.run({ verb: 'take', takes });
    if (!isPromise(answer)) return this.follow(context, plan, takes, answer);
    const place = patient && !full ? 1 : 0;
    this.line.waiting += place;
    return answer.then(
      (late) => {
        this.line.waiting -= place;
        return this.follow(context, plan, takes, late);
      },
      (error) => {
        this.line.waiting -= place;
        return this.failWith(context, takes, error);
      },
    );
  }

  /** Does what the answer says: goes on, waits in line, or refuses. */
  private follow(
    context: SuspendableRequestContext,
    plan: Plan,
    takes: readonly PlannedTake[],
    answer: StoreAnswer,
  ): void | Promise<void> {
    tellDecision(answer, takes, context.getType());
    // Nobody has counted what is let pass: there is nothing to tell of it.
    if (answer.source !== 'open') {
      const { headers } = this.options;
      const { httpAdapter } = this.adapterHost;
      transportOf(context).writeHeaders?.(context, answer, headers, plan.headersOf(takes), httpAdapter);
    }
    if (!answer.allowed) return this.refuse(context, takes, answer);
    if (answer.delay > 0) this.waitInLine(context, plan, takes, answer);
    else if (plan.settles) settleLater(context, takes, this.store, answer.source);
  }

  /** Refuses, unless the policy or the module has another answer. */
  private refuse(
    context: SuspendableRequestContext,
    takes: readonly PlannedTake[],
    answer: StoreAnswer,
  ): void | Promise<void> {
    refusals.note(answer.policy);
    const use = takes.find(({ policy }) => policy.labels.includes(answer.policy))?.use;
    const decision = toDecision(answer);
    const given = use?.message ?? this.options.message;
    const refuse = () => fail(transportOf(context).refusal(decision, messageOf(given, context, decision)));
    const onLimited = use?.onLimited ?? this.options.onLimited;
    if (!onLimited || !canAnswerInstead(context)) return refuse();
    return chain(onLimited(context, decision), (value) =>
      value === undefined ? refuse() : answerInstead(context, value),
    );
  }

  private failWith(context: SuspendableRequestContext, takes: readonly PlannedTake[], error: unknown): Promise<never> {
    if (!(error instanceof RateLimitStoreError)) throw error;
    const [{ policy }] = takes;
    if (failures.hasSubscribers) failures.publish({ policy: policy.name, transport: context.getType(), error });
    return fail(transportOf(context).unavailable(context, error, this.adapterHost.httpAdapter));
  }

  /** The place in line is taken; until it comes up, the request stands still. */
  private waitInLine(
    context: SuspendableRequestContext,
    plan: Plan,
    takes: readonly PlannedTake[],
    answer: StoreAnswer,
  ): void {
    const suspension = context.suspend({ timeout: answer.delay + GRACE });
    this.line.waiting++;
    const tellEnd = tellWait(answer, takes, context.getType(), this.store.clock);
    suspension.onSettled(() => {
      this.line.waiting--;
      tellEnd(endOf(suspension));
    });
    this.store.clock.sleep(answer.delay, suspension.signal).then(
      () => {
        if (suspension.resume() && plan.settles) settleLater(context, takes, this.store, answer.source);
      },
      () => this.giveBack(takes, answer),
    );
  }

  /** Nobody will act on this reservation any more. */
  private giveBack(takes: readonly Take[], answer: StoreAnswer): void {
    // All who leave in one turn of the event loop give back together: the last in line first, or else each would leave
    // its place to those behind it who have gone as well.
    if (this.leaving.push({ takes, answer }) === 1) setImmediate(() => this.giveAllBack());
  }

  private async giveAllBack(): Promise<void> {
    const all = this.leaving.splice(0).sort((a, b) => lastOf(b.answer) - lastOf(a.answer));
    const cancel = async ({ takes, answer: { actAt, source } }: Leaving) =>
      this.store.run({ verb: 'cancel', takes, actAt, source });
    await Promise.allSettled(all.map(cancel));
  }
}

const logger = new Logger('RateLimit');
/** One for all guards: a policy that several of them guard still has one line per minute. */
const refusals = new RefusalLog((line) => logger.log(line));

/** How a wait came to its end. */
function endOf({ failure }: Suspension): WaitEnd {
  if (!failure) return 'passed';
  if (failure.error instanceof ClientGoneError) return 'left';
  return failure.error instanceof SuspensionTimeoutError ? 'late' : 'closed';
}

/** Throws an error, which may have to be made first. */
function fail(error: MaybePromise<Error>): Promise<never> {
  if (!isPromise(error)) throw error;
  return error.then((made) => {
    throw made;
  });
}

/** What is to be said of a refusal, if anything. */
function messageOf(
  given: RateLimitOptions['message'],
  context: SuspendableRequestContext,
  decision: Decision,
): string | object | undefined {
  return typeof given === 'function' ? given(context, decision) : given;
}

/** A reservation that nobody will act on. */
interface Leaving {
  readonly takes: readonly Take[];
  readonly answer: StoreAnswer;
}

/** When a reservation acts. */
function lastOf({ actAt = [] }: StoreAnswer): number {
  return Math.max(0, ...actAt);
}
