import type { CallHandler, ExecutionContext, Type } from '@nestjs/common';
import { defer, map, type Observable, tap } from 'rxjs';
import type { Slot } from '../concurrency/slot.js';
import { ClientGoneError, onDisconnect, onResponseEnd, responseConnection } from '../context/connection.js';
import { readerOf } from '../context/readers.js';
import { propertyOf } from '../policy/explorer.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import { type CallObserver, withObserver } from './handler-calls.js';
import { observeSubscription } from './observed-subscription.js';
import { whenNotStarted } from './unstarted.js';

/** The requests that hold slots, by what guard and interceptor have in common. */
const holds = new WeakMap<object, SlotHold>();
/** Whether any request has held a slot: otherwise interceptors need not look for it. */
let isUsed = false;

/** Holds the slot of an admitted request until its response and its handler have ended. */
export function holdUntilEnd(context: ExecutionContext, slot: Slot, store: RateLimitStore): void {
  const identity = readerOf(context).identity(context);
  const known = holds.get(identity);
  if (known) return known.add(slot);
  isUsed = true;
  const hold = new SlotHold(context, slot);
  holds.set(identity, hold);
  hold.start(store);
}

/** Observes a handler, behind all interceptors, if a slot is held for it. */
export function observeHeldHandler(context: ExecutionContext, next: CallHandler): CallHandler {
  const hold = holdOf(context);
  return hold ? { handle: () => hold.observeHandler(next) } : next;
}

/** Observes the answer, in front of the interceptors of the class, if a slot is held for it. */
export function observeHeldAnswer(context: ExecutionContext, next: CallHandler): CallHandler {
  const hold = holdOf(context);
  return hold ? { handle: () => hold.observeAnswer(next) } : next;
}

function holdOf(context: ExecutionContext): SlotHold | undefined {
  return isUsed ? holds.get(readerOf(context).identity(context)) : undefined;
}

/**
 * A request that holds slots: until its response has ended, and nothing of it runs any more. What runs are the
 * subscriptions to the handler and to its interceptors, the promises of handlers that nothing subscribes to any more, and
 * the iterators of GraphQL subscriptions.
 */
class SlotHold implements CallObserver {
  readonly type: Type;
  readonly property: string;
  private readonly slots: Slot[];
  private running = 0;
  private hasStarted = false;
  /** Whether the end of what runs is the end of the request. */
  private isAnswered = false;
  private isOver = false;
  private stopListening = () => {};
  private stopWaiting = () => {};

  constructor(
    private readonly context: ExecutionContext,
    slot: Slot,
  ) {
    const handler = context.getHandler();
    this.slots = [slot];
    this.type = context.getClass();
    this.property = propertyOf(handler) ?? handler.name;
  }

  add(slot: Slot): void {
    if (this.isOver) void slot.release();
    else this.slots.push(slot);
  }

  start(store: RateLimitStore): void {
    const { endsWithResponse } = readerOf(this.context);
    const unstarted = () => {
      if (!this.hasStarted) this.answered();
    };
    if (responseConnection(this.context)) {
      this.stopListening = onResponseEnd(this.context, endsWithResponse ? () => this.answered() : unstarted);
    } else {
      this.stopWaiting = whenNotStarted(store, unstarted);
      this.stopListening = onDisconnect(this.context, unstarted);
    }
    if (this.isOver) this.stop();
  }

  observeHandler(next: CallHandler): Observable<unknown> {
    return defer(() => {
      const end = this.begin();
      return withObserver(this, () => next.handle()).pipe(tap({ finalize: end }));
    });
  }

  observeAnswer(next: CallHandler): Observable<unknown> {
    return defer(() => {
      const end = this.begin();
      let isSubscribed = false;
      const observe = (value: unknown) => {
        const iterator = observeSubscription(this.context, value, { end });
        if (iterator) isSubscribed = true;
        return iterator ?? value;
      };
      return next.handle().pipe(map(observe), tap({ finalize: () => isSubscribed || end() }));
    });
  }

  begin(): () => void {
    // Later guards or pipes took so long that the request has ended: without a slot nothing may run.
    if (this.isOver) throw new ClientGoneError();
    this.hasStarted = true;
    // Without a response, the end of what runs is the end of the request.
    if (!readerOf(this.context).endsWithResponse) this.isAnswered = true;
    this.stopWaiting();
    this.running++;
    let hasEnded = false;
    return () => {
      if (hasEnded) return;
      hasEnded = true;
      this.running--;
      this.releaseIfOver();
    };
  }

  private answered(): void {
    this.isAnswered = true;
    this.releaseIfOver();
  }

  private releaseIfOver(): void {
    if (!this.isAnswered || this.running > 0 || this.isOver) return;
    this.isOver = true;
    this.stop();
    for (const slot of this.slots) void slot.release();
  }

  private stop(): void {
    this.stopWaiting();
    this.stopListening();
  }
}
