import { ServiceUnavailableException } from '@nestjs/common';
import type { Clock } from '../util/clock.js';
import { type Duration, parseDuration } from '../util/duration.js';

/** A suspension that nobody ended in time. Over HTTP: status 503. */
export class SuspensionTimeoutError extends ServiceUnavailableException {
  constructor(readonly timeout: number) {
    super(`The request was suspended for longer than ${timeout} ms`);
  }
}

/** How long a suspension may last, and what else ends it. */
export interface SuspendOptions {
  /** Deadline; default 30 s. When it is over, the suspension fails with `SuspensionTimeoutError`. */
  timeout?: Duration;
  /** When it is aborted, the suspension fails with its reason. */
  signal?: AbortSignal;
}

const DEFAULT_TIMEOUT = 30_000;

/**
 * A request that stands still until exactly one of `resume`, `abortWith` or `fail` is called, its deadline is over or
 * its client goes away. Whatever comes first settles it; every later call does nothing and returns `false`, so a
 * handler never runs twice and never after an answer was given.
 */
export class Suspension {
  private isSettled = false;
  /** @internal Set once it has failed. */
  failure: { readonly error: unknown } | undefined;
  private controller: AbortController | undefined;
  private cutOff = false;
  private settle: (() => void) | undefined;
  private readonly endings: (() => void)[] = [];

  get settled(): boolean {
    return this.isSettled;
  }

  /** Aborted when the suspension is ended from outside (deadline, client, shut-down): then the work is for nobody. */
  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    if (this.cutOff) this.controller.abort(this.failure?.error);
    return this.controller.signal;
  }

  /** Goes on. `true` if this call decided. */
  resume(): boolean {
    return this.end(undefined);
  }

  /** Answers with `error` instead of going on. `true` if this call decided. */
  abortWith(error: unknown): boolean {
    return this.end({ error });
  }

  /** The same for an error that is no answer; exception filters see it as it is. `true` if this call decided. */
  fail(error: unknown): boolean {
    return this.end({ error });
  }

  /** @internal Ends it from outside. */
  cut(error: unknown): void {
    if (this.isSettled) return;
    this.cutOff = true;
    this.end({ error });
    this.controller?.abort(error);
  }

  /** @internal Calls `ending` when it is settled. */
  onSettled(ending: () => void): void {
    if (this.isSettled) ending();
    else this.endings.push(ending);
  }

  /** @internal Throws what it failed with; only once settled. */
  result(): void {
    if (this.failure) throw this.failure.error;
  }

  /** @internal Resolves when it is settled. */
  async ended(): Promise<void> {
    if (!this.isSettled) await new Promise<void>((resolve) => (this.settle = resolve));
    this.result();
  }

  private end(failure: { readonly error: unknown } | undefined): boolean {
    if (this.isSettled) return false;
    this.isSettled = true;
    this.failure = failure;
    for (const ending of this.endings.splice(0)) ending();
    this.settle?.();
    return true;
  }
}

/** Cuts the suspension when its time is over, its signal is aborted, or the client goes. */
export function guardSuspension(
  suspension: Suspension,
  { timeout = DEFAULT_TIMEOUT, signal }: SuspendOptions,
  clock: Clock,
): void {
  const ms = parseDuration('timeout', timeout);
  const over = new AbortController();
  clock.sleep(ms, over.signal).then(
    () => suspension.cut(new SuspensionTimeoutError(ms)),
    () => {},
  );
  suspension.onSettled(() => over.abort());
  if (!signal) return;
  const abort = () => suspension.cut(signal.reason);
  if (signal.aborted) return abort();
  signal.addEventListener('abort', abort, { once: true });
  suspension.onSettled(() => signal.removeEventListener('abort', abort));
}
