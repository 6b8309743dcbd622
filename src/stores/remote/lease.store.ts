import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import { plainAnswer } from '../../core/answer.js';
import type { DecisionSource, StoreAnswer } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import { bucketName, type StoreRequest, type Take } from '../../core/request.js';
import { every } from '../../util/clock.js';
import type { RateLimitStore } from '../rate-limit.store.js';
import { type Lease, newLease, spend } from './lease.js';
import { StoreWrapper } from './store-wrapper.js';

/** How long a lease may be unused before it is released, in ms. */
const IDLE_TIMEOUT = 1000;
const MAX_LEASES = 10_000;

/** Their answer does not depend on held tokens, so the lease need not be released first. */
const LEASE_NEUTRAL_VERBS: ReadonlySet<string> = new Set(['put', 'charge', 'cancel']);
/** They only take tokens, or report what a take would, so tokens leased while they run stay valid. */
const TAKE_VERBS: ReadonlySet<string> = new Set(['take', 'takeUpTo', 'estimate']);

/**
 * Wraps a remote store. For a policy with `lease: n` it takes up to n tokens in one call, or as many as the waiting
 * requests need, and spends them in this process. No token is spent twice. Other processes lack the held tokens, so a
 * lease is released after a second without use, and when the store is closed.
 */
export class LeaseStore extends StoreWrapper {
  private readonly leases = new Map<string, Lease>();
  private readonly stopTimer: () => void;

  constructor(store: RateLimitStore) {
    super(store);
    this.stopTimer = every(IDLE_TIMEOUT, () => void this.releaseIdle());
  }

  override run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer> {
    const { verb, takes, to } = request;
    const [take] = takes;
    if (!isLeased(takes, to) || LEASE_NEUTRAL_VERBS.has(verb)) return this.store.run(request);
    if (verb === 'take' && takes.length === 1 && take.maxWait === 0 && !take.amounts) return this.takeLeased(take);
    return this.runWithoutLeases(request);
  }

  override async close(): Promise<void> {
    this.stopTimer();
    await this.releaseAll([...this.leases.values()]);
    await this.store.close();
  }

  private async takeLeased(take: Take): Promise<StoreAnswer> {
    for (;;) {
      const lease = this.leaseOf(take);
      lease.lastUsedAt = this.clock.now();
      if (lease.held >= take.amount) return spend(lease, take);
      if (lease.dry && !lease.pending) return this.takeRest(lease, take);
      // Requests that arrive during a refill share it, and its outcome.
      lease.wanted += take.amount;
      try {
        lease.pending ??= this.refill(lease).finally(() => {
          lease.pending = undefined;
        });
        const source = await lease.pending;
        if (source !== 'store') return this.store.run({ verb: 'take', takes: [take], source });
      } finally {
        lease.wanted -= take.amount;
      }
    }
  }

  private leaseOf(take: Take): Lease {
    const name = bucketName(take);
    let lease = this.leases.get(name);
    if (!lease) {
      lease = newLease(take);
      this.leases.set(name, lease);
      const [oldest] = this.leases.values();
      if (this.leases.size > MAX_LEASES) this.release(oldest).catch(() => {});
    }
    return lease;
  }

  /** Takes more from the store: the size of the lease, or what waiting requests need if that is more. */
  private async refill(lease: Lease): Promise<DecisionSource> {
    const { take } = lease;
    const missing = Math.max(take.policy.lease, lease.wanted) - lease.held;
    const amount = Math.ceil(missing / AMOUNT_PER_TOKEN) * AMOUNT_PER_TOKEN;
    const answer = await this.store.run({ verb: 'takeUpTo', takes: [{ ...take, amount }] });
    const { source } = answer;
    const taken = Math.round(answer.taken * AMOUNT_PER_TOKEN);
    if (source === 'store') {
      lease.held += taken;
      lease.answer = plainAnswer(answer);
      lease.dry = taken < missing;
    } else if (taken > 0) {
      // Tokens of the failure mode are not leased.
      await this.store.run({ verb: 'put', source, takes: [{ ...take, amount: taken }] });
    }
    return source;
  }

  /** Takes from the store what the lease lacks, or returns the store's denial. */
  private async takeRest(lease: Lease, take: Take): Promise<StoreAnswer> {
    const { held } = lease;
    const amount = take.amount - held;
    const call = Promise.resolve(this.store.run({ verb: 'take', takes: [{ ...take, amount }] }));
    if (held > 0) {
      // This request reserves the held tokens. Others that would spend or release them wait for the outcome.
      lease.held = 0;
      lease.pending = call
        .then(({ source }) => source)
        .finally(() => {
          lease.pending = undefined;
        });
      lease.pending.catch(() => {});
    }
    try {
      const answer = await call;
      if (!answer.allowed) return answer;
      lease.dry = false;
      if (held === 0) return answer;
      lease.answer = plainAnswer(answer);
      lease.held += amount;
    } finally {
      lease.held += held;
    }
    return spend(lease, take);
  }

  /** Executes a request that needs the whole balance: releases the leases of its buckets first. */
  private async runWithoutLeases(request: StoreRequest): Promise<StoreAnswer> {
    const { verb, takes, to } = request;
    const buckets = to ? [...takes, { ...takes[0], policy: to }] : takes;
    for (const lease of this.leasesOf(buckets)) await this.release(lease);
    const answer = await this.store.run(request);
    // Again after the change: tokens leased while it was in flight may predate it.
    if (!TAKE_VERBS.has(verb)) await this.releaseAll(this.leasesOf(takes));
    return answer;
  }

  private leasesOf(takes: readonly Take[]): Lease[] {
    return takes.flatMap((take) => this.leases.get(bucketName(take)) ?? []);
  }

  /** Removes a lease, and refunds its tokens to the store. */
  private async release(lease: Lease): Promise<void> {
    const { take } = lease;
    const name = bucketName(take);
    // A call in flight adds tokens to the lease, and the requests that waited for it may start another one.
    while (lease.pending) await lease.pending.catch(() => {});
    if (this.leases.get(name) !== lease) return;
    this.leases.delete(name);
    const { held } = lease;
    lease.held = 0;
    if (held > 0) await this.store.run({ verb: 'put', takes: [{ ...take, amount: held }], retry: true });
  }

  /** Errors are ignored: tokens that cannot be refunded are missing until the bucket has refilled. */
  private async releaseAll(leases: readonly Lease[]): Promise<void> {
    await Promise.allSettled(leases.map((lease) => this.release(lease)));
  }

  private async releaseIdle(): Promise<void> {
    const now = this.clock.now();
    await this.releaseAll(
      [...this.leases.values()].filter(({ lastUsedAt, pending }) => !pending && now - lastUsedAt >= IDLE_TIMEOUT),
    );
  }
}

function isLeased(takes: readonly Take[], to: Policy | undefined): boolean {
  if (to && to.lease > 0) return true;
  for (const { policy } of takes) if (policy.lease > 0) return true;
  return false;
}
