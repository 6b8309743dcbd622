import { AsyncLocalStorage } from 'node:async_hooks';
import type { Type } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { isPromise } from '../util/maybe-promise.js';

type Method = (...args: unknown[]) => unknown;

/** Observes the handler that a request calls. */
export interface CallObserver {
  readonly type: Type;
  readonly property: string;
  /** A call begins; throws if the request has ended. Returns a function that ends the call. */
  begin(): () => void;
}

/** Between the interceptors and the handler Nest runs pipes, so only the async context leads from a request to its call. */
const observers = new AsyncLocalStorage<CallObserver>();
const observed = new WeakSet<object>();

/**
 * Replaces a method of a class by one whose calls are observed: an interceptor with a timeout, or a client that
 * disconnects, ends the request but not the handler. Call it before Nest reads the method.
 */
export function observeCalls({ prototype }: Type, property: string): void {
  let owner = prototype;
  while (!Object.hasOwn(owner, property)) owner = Object.getPrototypeOf(owner);
  const method: Method = owner[property];
  if (observed.has(method)) return;
  const wrapper = function (this: unknown, ...args: unknown[]): unknown {
    const observer = observers.getStore();
    if (observer?.property !== property || !(this instanceof observer.type)) return method.apply(this, args);
    const end = observer.begin();
    let result: unknown;
    try {
      result = method.apply(this, args);
    } finally {
      // An Observable ends with its subscription, which the interceptor observes.
      if (isPromise(result)) result.then(end, end);
      else end();
    }
    return result;
  };
  const { name, length } = Object.getOwnPropertyDescriptors(method);
  Object.defineProperties(wrapper, { name, length });
  // It inherits the metadata, also later additions.
  Object.setPrototypeOf(wrapper, method);
  observed.add(wrapper);
  Object.defineProperty(owner, property, { value: wrapper, configurable: true, writable: true });
}

/** Returns what `handle` returns; `observer` observes the call that Nest makes when that is subscribed to. */
export function withObserver(observer: CallObserver, handle: () => Observable<unknown>): Observable<unknown> {
  return observers.run(observer, handle);
}
