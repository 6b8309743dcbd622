import type { CanActivate, ExecutionContext, OnModuleDestroy } from '@nestjs/common';
import { ClientGoneError, isGone } from '../context/connection.js';
import { type Clock, systemClock } from '../util/clock.js';
import { isPromise } from '../util/maybe-promise.js';
import { OpenSuspensions } from './open-suspensions.js';
import { SuspendableContext } from './suspendable.context.js';
import type { SuspendOptions, Suspension } from './suspension.js';

/** What a suspendable guard sees: the context of the request, which it can suspend or answer. */
export class SuspendableRequestContext extends SuspendableContext {
  private answer: { readonly error: unknown } | undefined;

  /** Answers with `error` instead of going on, now or, when suspended, later. `true` if this call decided. */
  abortWith(error: unknown): boolean {
    if (this.isSuspended) return this.suspend().abortWith(error);
    if (this.answer) return false;
    this.answer = { error };
    return true;
  }

  /** After an answer there is nothing to wait for: then the suspension is over. */
  override suspend(options?: SuspendOptions): Suspension {
    const suspension = super.suspend(options);
    if (this.answer) this.discard(this.answer.error);
    return suspension;
  }

  /** @internal */
  override outcome(): void | Promise<void> {
    if (!this.answer) return super.outcome();
    this.discard(this.answer.error);
    throw this.answer.error;
  }
}

/**
 * A guard that may let the request stand still: RESTEasy's suspendable filter. The subclass writes `filter`, which does
 * nothing (the request goes on), calls `context.abortWith(error)`, throws, or suspends:
 *
 * ```ts
 * class QuotaGuard extends SuspendableGuard {
 *   protected filter(context: SuspendableRequestContext) {
 *     const suspension = context.suspend({ timeout: '2s' });
 *     quota.ask((granted) => (granted ? suspension.resume() : suspension.abortWith(new ForbiddenException())));
 *   }
 * }
 * ```
 *
 * What is settled before `filter` returns never makes the request asynchronous: `canActivate` then returns a plain
 * `true`, or throws. Without an end, a suspension fails after its deadline; when the client goes away or the
 * application shuts down, it ends at once.
 */
export abstract class SuspendableGuard implements CanActivate, OnModuleDestroy {
  private readonly open: OpenSuspensions;

  /** Deadlines are by the machine's clock, or by the one given (tests). */
  constructor(clock: Clock = systemClock) {
    this.open = new OpenSuspensions(clock);
  }

  /** Decides about the request, now or, when it has suspended it, later. To go on it does nothing. */
  protected abstract filter(context: SuspendableRequestContext): void | Promise<void>;

  canActivate(execution: ExecutionContext): boolean | Promise<boolean> {
    const context = new SuspendableRequestContext(execution, this.open);
    let filtered: void | Promise<void>;
    try {
      filtered = this.filter(context);
    } catch (error) {
      context.discard(error);
      throw error;
    }
    if (!isPromise(filtered)) {
      const ended = context.outcome();
      return ended ? ended.then(() => true) : true;
    }
    return context.outcomeOf(filtered).then(() => {
      if (isGone(execution)) throw new ClientGoneError();
      return true;
    });
  }

  /** Ends all its suspensions with 503. */
  onModuleDestroy(): void | Promise<void> {
    this.open.close();
  }
}
