import { FakeClock } from 'nest-rate-limit/testing';
import { plainAnswer } from '../../src/core/answer.js';
import type { StoreAnswer } from '../../src/core/decision.js';
import { type LimitOptions, type Policy, parsePolicy } from '../../src/core/policy.js';
import type { StoreRequest, Take } from '../../src/core/request.js';
import type { SlotHolder } from '../../src/core/slot-holder.js';
import type { RateLimitStore } from '../../src/stores/rate-limit.store.js';

/** A bucket with slots, its store and the store's clock. Holders are called 1, 2, … */
export class SlotSubject {
  readonly clock = new FakeClock();
  readonly store: RateLimitStore;
  readonly policy: Policy;
  /** The messages that it has received, once it listens. */
  readonly messages: string[] = [];

  constructor(
    make: (clock: FakeClock) => RateLimitStore,
    options: LimitOptions,
    readonly key = 'key',
  ) {
    this.store = make(this.clock);
    this.policy = parsePolicy(options, 'slots');
  }

  /** Records the messages to these holders, and empty ones. */
  listen(...holders: readonly number[]): void {
    const { store, policy, key, messages } = this;
    for (const holder of holders) {
      store.subscribe(policy, key, (message) => message && messages.push(`${holder}: ${message}`), holder);
    }
    store.subscribe(policy, key, (message) => message || messages.push(''));
  }

  /** Advances the clock. Synchronous, because nothing is sleeping on it. */
  advance(ms: number): void {
    this.clock.set(this.clock.now() + ms);
  }

  async run(verb: StoreRequest['verb'], more: Partial<Take> = {}, request: Partial<StoreRequest> = {}) {
    const take = { policy: this.policy, key: this.key, amount: 0, maxWait: 0, ...more };
    return plainAnswer(await this.store.run({ ...request, verb, takes: [take] }));
  }

  take(id: number, more: Omit<SlotHolder, 'id'> & { maxWait?: number; amount?: number } = {}): Promise<StoreAnswer> {
    const { maxWait, amount, ...holder } = { maxWait: 0, amount: 1000, ...more };
    return this.run('take', { amount, maxWait, holder: { id, ...holder } });
  }

  hold(id: number, count: number, more: Omit<SlotHolder, 'id' | 'count'> = {}): Promise<StoreAnswer> {
    return this.run('hold', { holder: { id, count, ...more } });
  }

  /** The number of free slots. */
  async free(): Promise<number> {
    const { limits } = await this.run('estimate');
    return limits[this.policy.slotIndex].remaining;
  }
}
