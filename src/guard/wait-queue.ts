import { Inject, Injectable } from '@nestjs/common';
import { ClientGoneError } from '../context/connection.js';
import { typeOf } from '../context/readers.js';
import type { StoreAnswer } from '../core/decision.js';
import type { Take } from '../core/request.js';
import type { WaitEnd } from '../observe/channels.js';
import { publishWait } from '../observe/messages.js';
import { PARSED_OPTIONS, type ParsedModuleOptions } from '../policy/parsed-options.js';
import { RateLimitStore } from '../stores/rate-limit.store.js';
import type { SuspendableRequestContext } from '../suspend/suspendable.guard.js';
import { type Suspension, SuspensionTimeoutError } from '../suspend/suspension.js';
import { MAX_DURATION } from '../util/duration.js';

/** Milliseconds by which a suspension may outlast its reservation. */
const GRACE = 30_000;

/** Turns of the event loop after which abandoned reservations are cancelled, though more are being abandoned. */
const MAX_TURNS = 100;

/** A reservation whose request no longer needs it. */
interface AbandonedReservation {
  readonly takes: readonly Take[];
  readonly answer: StoreAnswer;
}

/** The requests that wait for their reservations; shared by all guards of an application. */
@Injectable()
export class WaitQueue {
  /** Queued requests, and requests that may be queued once the store has answered. */
  private size = 0;
  private readonly abandoned: AbandonedReservation[] = [];

  constructor(
    private readonly store: RateLimitStore,
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
  ) {}

  /** Whether `maxSuspended` is reached. */
  get isFull(): boolean {
    return this.size >= this.options.maxSuspended;
  }

  /** Counts a request whose answer, which may queue it, is pending; returns a function that stops counting it. */
  countPending(): () => void {
    this.size++;
    return () => {
      this.size--;
    };
  }

  /** Suspends a request until its reservation acts, then calls `proceed`. */
  enqueue(context: SuspendableRequestContext, takes: readonly Take[], answer: StoreAnswer, proceed: () => void): void {
    const suspension = context.suspend({ timeout: timeoutOf(answer.delay) });
    this.size++;
    const publishEnd = publishWait(answer, takes, typeOf(context), this.store.clock);
    suspension.onSettled(() => {
      this.size--;
      publishEnd(endOf(suspension));
    });
    this.store.clock.sleep(answer.delay, suspension.signal).then(
      () => {
        if (suspension.resume()) proceed();
      },
      () => this.release({ takes, answer }),
    );
  }

  /** Cancels all abandoned reservations. */
  async cancelAbandoned(): Promise<void> {
    const all = this.abandoned.splice(0).sort((a, b) => actsAt(b) - actsAt(a));
    const cancel = async ({ takes, answer: { actAt, source } }: AbandonedReservation) =>
      this.store.run({ verb: 'cancel', takes, actAt, source });
    await Promise.allSettled(all.map(cancel));
  }

  /**
   * Cancels all reservations that are abandoned in a row of turns of the event loop together, the last one first:
   * otherwise tokens would stay reserved for later reservations that are being cancelled as well. The streams of an
   * HTTP/2 session that a client resets at once close one per turn.
   */
  release(reservation: AbandonedReservation): void {
    if (this.abandoned.push(reservation) === 1) this.cancelAfterTurn(MAX_TURNS);
  }

  private cancelAfterTurn(turns: number): void {
    const before = this.abandoned.length;
    setImmediate(() => {
      if (turns > 1 && this.abandoned.length > before) this.cancelAfterTurn(turns - 1);
      else void this.cancelAbandoned();
    });
  }
}

/** The timeout of the suspension of a request that waits for `ms`. */
export function timeoutOf(ms: number): number {
  return Math.min(ms + GRACE, MAX_DURATION);
}

/** How the wait of a suspended request has ended. */
export function endOf({ failure }: Suspension): WaitEnd {
  if (!failure) return 'passed';
  if (failure.error instanceof ClientGoneError) return 'left';
  return failure.error instanceof SuspensionTimeoutError ? 'late' : 'closed';
}

/** When the last part of a reservation acts. */
function actsAt({ answer: { actAt = [] } }: AbandonedReservation): number {
  return Math.max(0, ...actAt);
}
