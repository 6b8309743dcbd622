import { toDecision } from '../core/answer.js';
import type { Decision, StoreAnswer } from '../core/decision.js';

/** What releases a slot. */
interface SlotOwner {
  /** Called once. Resolves when the store has answered, or has failed to. */
  free(slot: Slot): Promise<void>;
}

/**
 * A slot of a concurrency limit, held until `release` is called or its block ends:
 *
 * ```ts
 * await using slot = await bucket.acquire({ maxWait: '30s' });
 * await render(page, slot.signal);
 * ```
 */
export class Slot {
  private readonly owner: SlotOwner;
  private controller: AbortController | undefined;
  private loss: { readonly error: Error } | undefined;
  private released: Promise<void> | undefined;
  private answered: Decision | undefined;

  /** @internal */
  constructor(
    /** @internal */
    readonly answer: StoreAnswer,
    /** @internal When the take that it was granted for was sent, in ms of the steady clock. */
    readonly since: number,
    owner: SlotOwner,
  ) {
    this.owner = owner;
  }

  /** The decision that granted the slot. */
  get decision(): Decision {
    this.answered ??= toDecision(this.answer);
    return this.answered;
  }

  /**
   * Aborted when the slot is lost: for longer than `slotTtl` the store has not been reached, so other processes may hold
   * the slot by now. Pass it to the work that the slot is held for. Releasing a slot does not abort it.
   */
  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    if (this.loss) this.controller.abort(this.loss.error);
    return this.controller.signal;
  }

  /**
   * Releases the slot. Resolves when the store has answered. If it does not, the promise resolves, too, and the release is
   * repeated until it does. Later calls return the same promise, which never rejects.
   */
  release(): Promise<void> {
    this.released ??= this.owner.free(this);
    return this.released;
  }

  /** Releases the slot at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** @internal Aborts `signal`. Returns whether the slot was still held and not lost. */
  lose(error: Error): boolean {
    if (this.loss || this.released) return false;
    this.loss = { error };
    this.controller?.abort(error);
    return true;
  }
}
