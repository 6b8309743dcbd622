import type { ArgumentsHost, ExecutionContext, Type } from '@nestjs/common';
import { ClientGoneError, whenGone } from '../context/connection.js';
import type { OpenSuspensions } from './open-suspensions.js';
import { guardSuspension, type SuspendOptions, Suspension } from './suspension.js';

/** Nest's `ExecutionContext`, which a filter can suspend. */
export class SuspendableContext implements ExecutionContext {
  private suspension: Suspension | undefined;
  private failed: ((error: unknown) => void) | undefined;

  /** @internal */
  constructor(
    protected readonly execution: ExecutionContext,
    private readonly open: OpenSuspensions,
  ) {}

  /**
   * Lets the request stand still until the suspension is resumed, aborted or failed. If that happens before the filter
   * returns, the request never becomes asynchronous. A second call returns the same suspension.
   */
  suspend(options: SuspendOptions = {}): Suspension {
    if (this.suspension) return this.suspension;
    const suspension = new Suspension();
    this.suspension = suspension;
    suspension.onSettled(() => {
      if (suspension.failure) this.failed?.(suspension.failure.error);
    });
    guardSuspension(suspension, options, this.open.clock);
    suspension.onSettled(whenGone(this.execution, () => suspension.cut(new ClientGoneError())));
    this.open.add(suspension);
    return suspension;
  }

  /** Whether it has been suspended, also if that is over. */
  protected get isSuspended(): boolean {
    return this.suspension !== undefined;
  }

  /** Resumes the filter's suspension. */
  resume(): boolean {
    return this.current().resume();
  }

  /** Fails the filter's suspension. */
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

  /** @internal Nothing that happens to its suspension from now on counts. */
  discard(error: unknown): void {
    this.suspension?.cut(error);
  }

  /** @internal What the filter left: nothing to wait for, or a promise of its end. Throws what it failed with. */
  outcome(): void | Promise<void> {
    const { suspension } = this;
    if (!suspension) return;
    return suspension.settled ? suspension.result() : suspension.ended();
  }

  /**
   * @internal The same for a filter that is itself asynchronous. What ends the suspension ends the request, though the
   * filter may still wait for something that never comes.
   */
  outcomeOf(filtered: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) => {
        this.discard(error);
        reject(error);
      };
      this.failed = fail;
      if (this.suspension?.failure) fail(this.suspension.failure.error);
      Promise.resolve(filtered)
        .then(() => this.outcome())
        .then(resolve, fail);
    });
  }

  private current(): Suspension {
    if (!this.suspension) throw new Error('Cannot resume: not suspended');
    return this.suspension;
  }
}
