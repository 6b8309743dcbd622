import { Injectable } from '@nestjs/common';
import { logger } from '../observe/logger.js';
import { type LimitedMethod, MethodCalls } from '../policy/limited-method.js';
import { hasRoute } from '../policy/routing.js';
import { later } from '../util/clock.js';

/** ms after which a call is reported that still waits for the application to start. */
const LONG_START = 10_000;

/** What limits the calls of a started application. */
type Limiter = Pick<MethodCalls, 'call'>;

/**
 * What Nest injects into instances of classes with limited methods. It has no dependencies, because whatever the module
 * depends on may have limited methods, too: the limiter is added when it is ready.
 */
@Injectable()
export class MethodRuntime extends MethodCalls {
  private limiter: Limiter | undefined;
  private started!: (limiter: Limiter | Promise<never>) => void;
  private readonly starting = new Promise<Limiter>((resolve) => {
    this.started = resolve;
  });
  private isWatched = false;
  /** Whether the application has closed, so that another one may use its instances. */
  isClosed = false;

  /** Lets calls proceed that have waited for the application. */
  start(limiter: Limiter): void {
    this.limiter = limiter;
    this.started(limiter);
  }

  /** Rejects the calls that have waited: the application does not start. */
  fail(error: unknown): void {
    this.isClosed = true;
    this.starting.catch(() => {});
    this.started(Promise.reject(error));
  }

  call(method: LimitedMethod, instance: object, args: unknown[]): unknown {
    method.isRouted ??= isRouted(method);
    if (method.isRouted) return method.original.apply(instance, args);
    if (this.limiter) return this.limiter.call(method, instance, args);
    if (!this.isWatched) this.watchStart(method);
    return this.starting.then((limiter) => limiter.call(method, instance, args));
  }

  /** If the start of the application itself awaits the call, nothing else would be logged. */
  private watchStart({ prototype, property }: LimitedMethod): void {
    this.isWatched = true;
    later(LONG_START, () => {
      if (this.limiter || this.isClosed) return;
      logger.warn(
        `A call of ${prototype.constructor.name}.${String(property)} waits for the application to start. If a factory or ` +
          'a hook awaits the call, it waits forever: do not await it there',
      );
    });
  }
}

/** The decorator of a route may have stored its metadata in a function that another decorator put around the method. */
function isRouted({ prototype, property, wrapper }: LimitedMethod): boolean {
  const outermost: unknown = Object.getOwnPropertyDescriptor(prototype, property)?.value;
  return hasRoute(wrapper) || (typeof outermost === 'function' && hasRoute(outermost as typeof wrapper));
}
