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

/** How much longer than its reservation a request may be suspended, ms. */
const GRACE = 30_000;

/** The reservation of a request that will not use it. */
interface Abandoned {
  readonly takes: readonly Take[];
  readonly answer: StoreAnswer;
}

/** The requests that wait for their reservations; shared by all guards of an application. */
@Injectable()
export class WaitQueue {
  /** Queued requests, and those whose answer may queue them. */
  private size = 0;
  private readonly abandoned: Abandoned[] = [];

  constructor(
    private readonly store: RateLimitStore,
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
  ) {}

  /** Whether `maxSuspended` is reached. */
  get isFull(): boolean {
    return this.size >= this.options.maxSuspended;
  }

  /** Counts a request that may be queued while the store has not answered; returns a function that stops counting it. */
  countPending(): () => void {
    this.size++;
    return () => {
      this.size--;
    };
  }

  /** Suspends a request until its reservation acts, then calls `proceed`. */
  enqueue(context: SuspendableRequestContext, takes: readonly Take[], answer: StoreAnswer, proceed: () => void): void {
    const suspension = context.suspend({ timeout: answer.delay + GRACE });
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
      () => this.abandon({ takes, answer }),
    );
  }

  /** Cancels all abandoned reservations. */
  async cancelAbandoned(): Promise<void> {
    const all = this.abandoned.splice(0).sort((a, b) => actsAt(b) - actsAt(a));
    const cancel = async ({ takes, answer: { actAt, source } }: Abandoned) =>
      this.store.run({ verb: 'cancel', takes, actAt, source });
    await Promise.allSettled(all.map(cancel));
  }

  /**
   * All reservations abandoned in one turn of the event loop are cancelled together, the last one first: otherwise each
   * would be kept for the ones behind it, which are cancelled as well.
   */
  private abandon(reservation: Abandoned): void {
    if (this.abandoned.push(reservation) === 1) setImmediate(() => this.cancelAbandoned());
  }
}

function endOf({ failure }: Suspension): WaitEnd {
  if (!failure) return 'passed';
  if (failure.error instanceof ClientGoneError) return 'left';
  return failure.error instanceof SuspensionTimeoutError ? 'late' : 'closed';
}

/** When the last part of a reservation acts. */
function actsAt({ answer: { actAt = [] } }: Abandoned): number {
  return Math.max(0, ...actAt);
}
