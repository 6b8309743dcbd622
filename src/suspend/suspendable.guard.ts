import type { CanActivate, ExecutionContext, OnModuleDestroy } from '@nestjs/common';
import { endAnswered, isAnswered } from '../context/answered.js';
import { ClientGoneError, isDisconnected } from '../context/connection.js';
import { type Clock, systemClock } from '../util/clock.js';
import { isPromise } from '../util/maybe-promise.js';
import { OpenSuspensions } from './open-suspensions.js';
import { SuspendableContext } from './suspendable.context.js';
import type { SuspendOptions, Suspension } from './suspension.js';

/** The context of a request in a `SuspendableGuard`. The guard can suspend the request or end it with an error. */
export class SuspendableRequestContext extends SuspendableContext {
  private answer: { readonly error: unknown } | undefined;

  /**
   * Ends the request with `error` as its response. It also settles a suspension that is still open. Returns `true` if
   * this call decided the request.
   */
  abortWith(error: unknown): boolean {
    if (this.isSuspended) return this.suspend().abortWith(error);
    if (this.answer) return false;
    this.answer = { error };
    return true;
  }

  /** Suspends the request. After `abortWith`, the returned suspension is already settled. */
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
 * Base class of guards that can suspend a request, modeled on RESTEasy's suspendable request filters.
 *
 * A subclass implements `filter`. If `filter` does nothing, the request proceeds. It can also throw, call
 * `context.abortWith(error)`, or suspend the request:
 *
 * ```ts
 * class QuotaGuard extends SuspendableGuard {
 *   protected filter(context: SuspendableRequestContext) {
 *     const suspension = context.suspend({ timeout: '2s' });
 *     quota.request((granted) => (granted ? suspension.resume() : suspension.abortWith(new ForbiddenException())));
 *   }
 * }
 * ```
 *
 * A suspension that is settled before `filter` returns keeps the request synchronous: `canActivate` returns `true` or
 * throws. Otherwise, a suspension fails when its timeout expires, the client disconnects or the application shuts down.
 * If other code, such as a timeout middleware, answers a suspended HTTP request, `canActivate` never settles: the
 * handler does not run, and exception filters do not write a second response.
 */
export abstract class SuspendableGuard implements CanActivate, OnModuleDestroy {
  private readonly open: OpenSuspensions;

  /** @param clock The clock for timeouts; default: the system clock. Tests can pass a `FakeClock`. */
  constructor(clock: Clock = systemClock) {
    this.open = new OpenSuspensions(clock);
  }

  /** Decides about the request: returns to let it proceed, throws or calls `abortWith` to end it, or suspends it. */
  protected abstract filter(context: SuspendableRequestContext): void | Promise<void>;

  /** Runs `filter`. Returns a promise only if the request is suspended or `filter` is asynchronous. */
  canActivate(execution: ExecutionContext): boolean | Promise<boolean> {
    const context = new SuspendableRequestContext(execution, this.open);
    let filtered: void | Promise<void>;
    try {
      filtered = this.filter(context);
    } catch (error) {
      context.discard(error);
      throw error;
    }
    const pending = isPromise(filtered) ? context.outcomeOf(filtered) : context.outcome();
    if (!pending) return true;
    return pending.then(
      () => {
        if (isAnswered(execution)) return endAnswered(execution);
        if (isDisconnected(execution)) throw new ClientGoneError();
        return true;
      },
      (error) => {
        if (isAnswered(execution)) return endAnswered(execution);
        throw error;
      },
    );
  }

  /** Fails all open suspensions of this guard with status 503. */
  onModuleDestroy(): void | Promise<void> {
    return this.open.close();
  }
}
