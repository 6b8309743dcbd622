import type { BucketState } from '../../core/algorithms/algorithm.js';
import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import type { StoreAnswer } from '../../core/decision.js';
import { dividePolicy, type Policy } from '../../core/policy.js';
import type { StoreRequest, Take } from '../../core/request.js';
import type { Clock } from '../../util/clock.js';
import { MemoryStore } from '../memory/memory.store.js';
import { type LastAnswer, LastAnswers } from './last-answers.js';

/**
 * Decides in this process while the store is unavailable, by limits divided by the number of processes. A bucket begins
 * with what the store last answered about it. It is kept after the outage, so the next one does not refill it.
 */
export class LocalFallback {
  private readonly divided = new WeakMap<Policy, Policy>();
  private readonly answers = new LastAnswers();
  private store: MemoryStore | undefined;

  /** `isDefault`: takes are decided here unless they have another failure mode of their own. */
  constructor(
    private readonly clock: Clock,
    private readonly instances: number,
    private readonly isDefault: boolean,
  ) {}

  run(request: StoreRequest): StoreAnswer {
    this.store ??= new MemoryStore({ clock: this.clock });
    const takes = request.takes.map((take) => this.localTake(take));
    for (const [i, take] of request.takes.entries()) {
      const last = this.answers.remove(take);
      if (last) this.restrict(this.store, takes[i], last);
    }
    if (request.verb === 'take') this.reportSlots(this.store, takes);
    return this.store.run({ ...request, takes }, 'fallback');
  }

  /** Remembers what the store answered, for takes that are decided here in an outage. */
  remember({ verb, takes }: StoreRequest, { limits }: StoreAnswer): void {
    // An estimate reports the state after a take that was not made.
    if (verb === 'estimate') return;
    let first = 0;
    for (const take of takes) {
      if (take.onStoreError === 'local' || (this.isDefault && take.onStoreError === undefined)) {
        this.answers.set(take, this.clock.now(), limits, first);
        // What was reset in the store is reset here, too.
        if (verb === 'reset' || verb === 'unblock') this.store?.run({ verb, takes: [this.localTake(take)] });
      }
      first += take.policy.limits.length;
    }
  }

  /** Sets the slots that this process holds, which local takes may not know of: most were taken from the store. */
  private reportSlots(store: MemoryStore, takes: readonly Take[]): void {
    for (const { policy, key, holder } of takes) {
      if (holder?.count === undefined) continue;
      const held = { ...holder, waited: undefined };
      store.run({ verb: 'hold', takes: [{ policy, key, amount: 0, maxWait: 0, holder: held }] });
    }
  }

  /** Stops the timer. Buckets stay, so that requests in flight are still answered. */
  close(): void {
    this.store?.close();
  }

  /** Lowers the balances of a local bucket to those that the store answered, divided among the processes. */
  private restrict(store: MemoryStore, { policy, key }: Take, { at: arrived, limits }: LastAnswer): void {
    store.adjust(policy, key, (state: BucketState) => {
      // If the clock has been set back, the answer counts as new.
      const at = Math.min(arrived, state.at);
      for (const [i, limit] of policy.limits.entries()) {
        const { balance, resetAfter, moreAfter } = limits[i];
        if (resetAfter === 0 || at + resetAfter <= state.at) continue;
        const left = Math.floor((balance / this.instances) * AMOUNT_PER_TOKEN * limit.weight + 1e-6);
        const used = Math.min(Math.max(0, limit.capacity - left), Number.MAX_SAFE_INTEGER);
        limit.algorithm.restrict(limit, state, i, { at, used, moreAfter, resetAfter });
      }
    });
  }

  /** The same take from this process's share of the limits. */
  private localTake(take: Take): Take {
    let policy = this.divided.get(take.policy);
    if (!policy) {
      policy = dividePolicy(take.policy, this.instances);
      this.divided.set(take.policy, policy);
    }
    return { ...take, policy };
  }
}
