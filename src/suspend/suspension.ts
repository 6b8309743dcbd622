import { RateLimitUnavailableException } from '../exceptions/rate-limit.exception.js';
import type { Clock } from '../util/clock.js';
import { type Duration, parseDuration } from '../util/duration.js';

/** Thrown when a suspension exceeds its timeout. Over HTTP: status 503. */
export class SuspensionTimeoutError extends RateLimitUnavailableException {
  /** @param timeout The timeout in milliseconds. */
  constructor(readonly timeout: number) {
    super(undefined, `The request was suspended for longer than ${timeout} ms`);
  }
}

/** Options of `suspend`: what ends a suspension that is neither resumed nor failed. */
export interface SuspendOptions {
  /** The longest duration of the suspension; default 30 s. Then it fails with `SuspensionTimeoutError`. */
  timeout?: Duration;
  /** Aborting this signal fails the suspension with the signal's reason. */
  signal?: AbortSignal;
}

const DEFAULT_TIMEOUT = 30_000;

/**
 * A suspended request. It stays suspended until `resume`, `abortWith` or `fail` is called, its timeout expires, its
 * client disconnects or the application shuts down.
 *
 * The first of these settles the suspension. Every later call has no effect and returns `false`, so a handler never
 * runs twice, and never after the request has been answered.
 */
export class Suspension {
  private isSettled = false;
  /** @internal Set once the suspension has failed. */
  failure: { readonly error: unknown } | undefined;
  private controller: AbortController | undefined;
  private interrupted = false;
  private resolveSettled: (() => void) | undefined;
  private readonly listeners: (() => void)[] = [];

  /** Whether the suspension has been resumed or has failed. */
  get settled(): boolean {
    return this.isSettled;
  }

  /**
   * Aborted when the suspension ends by its timeout, its `signal` option, a disconnect or a shutdown. Pass it to the
   * pending work, whose result is no longer needed then.
   */
  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    if (this.interrupted) this.controller.abort(this.failure?.error);
    return this.controller.signal;
  }

  /** Lets the request proceed. Returns `true` if this call settled the suspension. */
  resume(): boolean {
    return this.settle(undefined);
  }

  /** Ends the request with `error` as its response. Returns `true` if this call settled the suspension. */
  abortWith(error: unknown): boolean {
    return this.settle({ error });
  }

  /**
   * Ends the request with an unexpected error. It behaves like `abortWith`: exception filters receive `error`
   * unchanged. Returns `true` if this call settled the suspension.
   */
  fail(error: unknown): boolean {
    return this.settle({ error });
  }

  /** @internal Fails the suspension from outside and aborts `signal`. */
  interrupt(error: unknown): void {
    if (this.isSettled) return;
    this.interrupted = true;
    this.settle({ error });
    this.controller?.abort(error);
  }

  /** @internal Calls `listener` when the suspension is settled, or immediately if it already is. */
  onSettled(listener: () => void): void {
    if (this.isSettled) listener();
    else this.listeners.push(listener);
  }

  /** @internal Throws the error of a failed suspension. Call it only after the suspension is settled. */
  throwIfFailed(): void {
    if (this.failure) throw this.failure.error;
  }

  /** @internal Resolves when the suspension is resumed; rejects if it fails. */
  async completion(): Promise<void> {
    if (!this.isSettled) await new Promise<void>((resolve) => (this.resolveSettled = resolve));
    this.throwIfFailed();
  }

  private settle(failure: { readonly error: unknown } | undefined): boolean {
    if (this.isSettled) return false;
    this.isSettled = true;
    this.failure = failure;
    for (const listener of this.listeners.splice(0)) listener();
    this.resolveSettled?.();
    return true;
  }
}

/** Interrupts the suspension when its timeout expires or its signal is aborted. */
export function applySuspendOptions(
  suspension: Suspension,
  { timeout = DEFAULT_TIMEOUT, signal }: SuspendOptions,
  clock: Clock,
): void {
  const ms = parseDuration('timeout', timeout);
  const timer = new AbortController();
  clock.sleep(ms, timer.signal).then(
    () => suspension.interrupt(new SuspensionTimeoutError(ms)),
    () => {},
  );
  // Without a reason, each signal would create an error with a stack trace.
  suspension.onSettled(() => timer.abort('settled'));
  if (!signal) return;
  const abort = () => suspension.interrupt(signal.reason);
  if (signal.aborted) return abort();
  signal.addEventListener('abort', abort, { once: true });
  suspension.onSettled(() => signal.removeEventListener('abort', abort));
}
