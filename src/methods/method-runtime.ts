import { Injectable } from '@nestjs/common';
import { type LimitedMethod, MethodCalls } from '../policy/limited-method.js';
import { hasRoute } from '../policy/routing.js';

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
  /** Whether the application has closed, so that another one may use its instances. */
  isClosed = false;

  /** Lets calls proceed that have waited for the application. */
  start(limiter: Limiter): void {
    this.limiter = limiter;
    this.started(limiter);
  }

  /** Rejects the calls that have waited: the application does not start. */
  fail(error: unknown): void {
    this.starting.catch(() => {});
    this.started(Promise.reject(error));
  }

  call(method: LimitedMethod, instance: object, args: unknown[]): unknown {
    method.isRouted ??= isRouted(method);
    if (method.isRouted) return method.original.apply(instance, args);
    if (this.limiter) return this.limiter.call(method, instance, args);
    return this.starting.then((limiter) => limiter.call(method, instance, args));
  }
}

/** The decorator of a route may have stored its metadata in a function that another decorator put around the method. */
function isRouted({ prototype, property, wrapper }: LimitedMethod): boolean {
  const outermost: unknown = Object.getOwnPropertyDescriptor(prototype, property)?.value;
  return hasRoute(wrapper) || (typeof outermost === 'function' && hasRoute(outermost as typeof wrapper));
}
