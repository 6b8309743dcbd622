import { typeOf } from '../context/readers.js';
import type { StoreAnswer } from '../core/decision.js';
import type { WaitEnd } from '../observe/channels.js';
import { publishWait } from '../observe/messages.js';
import type { RequestTake } from '../policy/request-take.js';
import type { SuspendableRequestContext } from '../suspend/suspendable.guard.js';
import type { Suspension } from '../suspend/suspension.js';
import { onAnyAbort } from '../util/any-signal.js';
import type { Clock } from '../util/clock.js';
import { endOf, timeoutOf } from './wait-queue.js';

/** The shortest `maxHold` of the policies of a request; `undefined` if none has one. */
export function maxHoldOf(takes: readonly RequestTake[]): number | undefined {
  const all = takes.flatMap(({ requestPolicy: { maxHold } }) => maxHold ?? []);
  return all.length > 0 ? Math.min(...all) : undefined;
}

/** The wait of a request for slots. The request is suspended from its first denial on. */
export class SlotWait {
  private suspension: Suspension | undefined;
  private publishEnd: ((end: WaitEnd) => void) | undefined;

  constructor(
    private readonly context: SuspendableRequestContext,
    private readonly takes: readonly RequestTake[],
    private readonly clock: Clock,
  ) {}

  /** Suspends the request. Calls `abort` if the suspension is interrupted. */
  begin(denial: StoreAnswer, abort: (reason: unknown) => void): void {
    const { context, takes } = this;
    this.suspension = context.suspend({ timeout: timeoutOf(Math.max(...takes.map(({ maxWait }) => maxWait))) });
    this.publishEnd = publishWait(denial, takes, typeOf(context), this.clock);
    onAnyAbort([this.suspension.signal], abort);
  }

  /** Ends the wait with its last answer. Unless that was a denial, or has a delay, the request is no longer suspended. */
  answered({ allowed, delay }: StoreAnswer): void {
    this.publishEnd?.(allowed ? 'passed' : 'late');
    if (allowed && delay === 0) this.suspension?.resume();
  }

  /** The wait has ended without an answer. */
  failed(): void {
    if (this.suspension) this.publishEnd?.(endOf(this.suspension));
  }
}
