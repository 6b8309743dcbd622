import type { ArgumentsHost, ExecutionContext, Type } from '@nestjs/common';
import { ClientGoneError, onDisconnect } from '../context/connection.js';
import { withoutStackTrace } from '../exceptions/rate-limit.exception.js';
import type { OpenSuspensions } from './open-suspensions.js';
import { applySuspendOptions, type SuspendOptions, Suspension } from './suspension.js';

const clientGone = () => withoutStackTrace(() => new ClientGoneError());

/** Nest's `ExecutionContext` with the ability to suspend the request. */
export class SuspendableContext implements ExecutionContext {
  private suspension: Suspension | undefined;
  private onFailure: ((error: unknown) => void) | undefined;

  /** @internal */
  constructor(
    protected readonly execution: ExecutionContext,
    private readonly open: OpenSuspensions,
  ) {}

  /**
   * Suspends the request until the suspension is resumed, aborted or failed. If that happens before the filter returns,
   * the request stays synchronous. A second call returns the same suspension and ignores its options.
   */
  suspend(options: SuspendOptions = {}): Suspension {
    if (this.suspension) return this.suspension;
    const suspension = new Suspension();
    this.suspension = suspension;
    suspension.onSettled(() => {
      if (suspension.failure) this.onFailure?.(suspension.failure.error);
    });
    applySuspendOptions(suspension, options, this.open.clock);
    suspension.onSettled(onDisconnect(this.execution, () => suspension.interrupt(clientGone())));
    this.open.add(suspension);
    return suspension;
  }

  /** Whether `suspend` has been called, even if the suspension is already settled. */
  protected get isSuspended(): boolean {
    return this.suspension !== undefined;
  }

  /**
   * Resumes the suspension of this filter. Returns `true` if this call settled it. Throws if the request is not
   * suspended.
   */
  resume(): boolean {
    return this.current().resume();
  }

  /**
   * Fails the suspension of this filter with `error`. Returns `true` if this call settled it. Throws if the request is
   * not suspended.
   */
  fail(error: unknown): boolean {
    return this.current().fail(error);
  }

  getClass<T>(): Type<T> {
    return this.execution.getClass<T>();
  }

  getHandler(): ReturnType<ExecutionContext['getHandler']> {
    return this.execution.getHandler();
  }

  getArgs<T extends unknown[]>(): T {
    return this.execution.getArgs<T>();
  }

  getArgByIndex<T>(index: number): T {
    return this.execution.getArgByIndex<T>(index);
  }

  switchToRpc(): ReturnType<ArgumentsHost['switchToRpc']> {
    return this.execution.switchToRpc();
  }

  switchToHttp(): ReturnType<ArgumentsHost['switchToHttp']> {
    return this.execution.switchToHttp();
  }

  switchToWs(): ReturnType<ArgumentsHost['switchToWs']> {
    return this.execution.switchToWs();
  }

  getType<T extends string>(): T {
    return this.execution.getType<T>();
  }

  /** @internal Settles the suspension, if there is one, so that later calls have no effect. */
  discard(error: unknown): void {
    this.suspension?.interrupt(error);
  }

  /**
   * @internal The result of a synchronous filter: `undefined` if the request may proceed, or a promise while it is
   * suspended. Throws the error of a failed suspension.
   */
  outcome(): void | Promise<void> {
    const { suspension } = this;
    if (!suspension) return;
    return suspension.settled ? suspension.throwIfFailed() : suspension.completion();
  }

  /**
   * @internal The result of an asynchronous filter. A failed suspension ends the request even if the filter's own
   * promise never settles.
   */
  outcomeOf(filtered: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) => {
        this.discard(error);
        reject(error);
      };
      this.onFailure = fail;
      if (this.suspension?.failure) fail(this.suspension.failure.error);
      Promise.resolve(filtered).then(() => {
        try {
          resolve(this.outcome());
        } catch (error) {
          fail(error);
        }
      }, fail);
    });
  }

  private current(): Suspension {
    if (!this.suspension) throw new Error('Cannot resume: not suspended');
    return this.suspension;
  }
}
