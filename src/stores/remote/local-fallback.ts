import type { StoreAnswer } from '../../core/decision.js';
import { dividePolicy, type Policy } from '../../core/policy.js';
import type { StoreRequest } from '../../core/request.js';
import type { Clock } from '../../util/clock.js';
import { MemoryStore } from '../memory/memory.store.js';

/** Decides in this process while the store is unavailable, by limits divided by the number of processes. */
export class LocalFallback {
  private readonly divided = new WeakMap<Policy, Policy>();
  private store: MemoryStore | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly instances: number,
  ) {}

  run(request: StoreRequest): StoreAnswer {
    this.store ??= new MemoryStore({ clock: this.clock });
    const takes = request.takes.map((take) => ({ ...take, policy: this.divide(take.policy) }));
    return this.store.run({ ...request, takes }, 'fallback');
  }

  /** Drops all buckets, so that the next outage starts with full ones. */
  clear(): void {
    this.store?.close();
    this.store = undefined;
  }

  /** Stops the timer. Buckets stay, so that requests in flight are still answered. */
  close(): void {
    this.store?.close();
  }

  private divide(policy: Policy): Policy {
    let divided = this.divided.get(policy);
    if (!divided) {
      divided = dividePolicy(policy, this.instances);
      this.divided.set(policy, divided);
    }
    return divided;
  }
}
