import type { ExecutionContext } from '@nestjs/common';
import { onDisconnect } from '../context/connection.js';
import { isSubscription } from '../context/graphql.js';
import { kindOf } from '../context/readers.js';

/** What the values of a GraphQL subscription are reported to. */
export interface SubscriptionObserver {
  value?(value: unknown): void;
  /** Called once: no more values follow, because there are none, one has failed, or the client has enough of them. */
  end(failure?: { readonly error: unknown }): void;
}

/** The iterator of a GraphQL subscription, observed; `undefined` if the result is not one. */
export function observeSubscription(
  context: ExecutionContext,
  result: unknown,
  observer: SubscriptionObserver,
): AsyncIterableIterator<unknown> | undefined {
  if (kindOf(context) !== 'graphql' || !isSubscription(context) || !isAsyncIterable(result)) return undefined;
  return new ObservedIterator(context, result, observer);
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof (value as AsyncIterable<unknown> | null | undefined)?.[Symbol.asyncIterator] === 'function';
}

class ObservedIterator implements AsyncIterableIterator<unknown> {
  private readonly iterator: AsyncIterator<unknown>;
  private isOver = false;
  private stopListening = () => {};

  constructor(
    context: ExecutionContext,
    source: AsyncIterable<unknown>,
    private readonly observer: SubscriptionObserver,
  ) {
    this.iterator = source[Symbol.asyncIterator]();
    // Servers whose client is lost before they request a value never request any, and Mercurius keeps iterators
    // with a filter until their next value.
    this.stopListening = onDisconnect(context, () => void this.return().catch(() => {}));
    if (this.isOver) this.stopListening();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<unknown>> {
    return this.observed(() => this.iterator.next());
  }

  async return(value?: unknown): Promise<IteratorResult<unknown>> {
    try {
      return (await this.iterator.return?.(value)) ?? { done: true, value };
    } finally {
      this.end();
    }
  }

  throw(error?: unknown): Promise<IteratorResult<unknown>> {
    return this.observed(() => this.iterator.throw?.(error) ?? Promise.reject(error));
  }

  private async observed(step: () => Promise<IteratorResult<unknown>>): Promise<IteratorResult<unknown>> {
    try {
      const result = await step();
      if (result.done) this.end();
      else this.observer.value?.(result.value);
      return result;
    } catch (error) {
      this.end({ error });
      throw error;
    }
  }

  private end(failure?: { readonly error: unknown }): void {
    if (this.isOver) return;
    this.isOver = true;
    this.stopListening();
    this.observer.end(failure);
  }
}
