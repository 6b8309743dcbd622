import { plainAnswer } from '../core/answer.js';
import { every } from '../core/clock.js';
import type { StoreAnswer } from '../core/decision.js';
import { bucketName, type StoreRequest, type Take } from '../core/request.js';
import { AMOUNT_PER_TOKEN } from '../core/tokens.js';
import type { RateLimitStore } from './rate-limit.store.js';
import { StoreWrapper } from './store-wrapper.js';

/** Tokens of one bucket that this process has taken and not yet spent. */
interface Lease {
  readonly take: Take;
  /** Thousandths of a token. */
  left: number;
  usedAt: number;
  /** The last answer of the store; what it said is shown until it is asked again. */
  answer: StoreAnswer | undefined;
  /** What is asked of the store now; who comes meanwhile waits for it. */
  asking: Promise<unknown> | undefined;
}

const RETURN_AFTER = 1000;
const MOST = 10_000;

/**
 * A store around a store that is far away: for a policy with `lease: n` it takes up to n tokens at once and spends them
 * here. No token is ever spent twice; those that a process holds are missing elsewhere, so they are given back when
 * they have not been touched for a second, and when the store is closed.
 */
export class LeaseStore extends StoreWrapper {
  private readonly leases = new Map<string, Lease>();
  private readonly stop: () => void;

  constructor(store: RateLimitStore) {
    super(store);
    this.stop = every(RETURN_AFTER, () => void this.returnIdle(RETURN_AFTER));
  }

  override run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer> {
    const { verb, takes } = request;
    const [take] = takes;
    if (!isLeased(takes) || STAYS.has(verb)) return this.store.run(request);
    if (verb === 'take' && takes.length === 1 && take.maxWait === 0) return this.spend(take);
    return this.runWithAll(request);
  }

  override async close(): Promise<void> {
    this.stop();
    await this.returnIdle(0);
    await this.store.close();
  }

  private async spend(take: Take): Promise<StoreAnswer> {
    let lease = this.leaseOf(take);
    // While somebody asks for more, the others wait for what he gets.
    while (lease.left < take.amount && lease.asking) {
      await lease.asking.catch(() => {});
      lease = this.leaseOf(take);
    }
    lease.usedAt = this.clock.now();
    if (lease.left >= take.amount) return spend(lease, take);
    const asking = this.renew(lease, take);
    lease.asking = asking;
    return asking.finally(() => {
      lease.asking = undefined;
    });
  }

  private leaseOf(take: Take): Lease {
    const name = bucketName(take);
    let lease = this.leases.get(name);
    if (!lease) {
      lease = { take, left: 0, usedAt: 0, answer: undefined, asking: undefined };
      this.leases.set(name, lease);
      const [oldest] = this.leases.values();
      if (this.leases.size > MOST) this.giveBack(oldest).catch(() => {});
    }
    return lease;
  }

  /** Takes more, up to the lease, and spends of it; or tells why there is not enough. */
  private async renew(lease: Lease, take: Take): Promise<StoreAnswer> {
    const missing = Math.max(take.policy.lease, take.amount) - lease.left;
    const amount = Math.ceil(missing / AMOUNT_PER_TOKEN) * AMOUNT_PER_TOKEN;
    const more = await this.store.run({ verb: 'takeUpTo', takes: [{ ...take, amount }] });
    const taken = Math.round(more.taken * AMOUNT_PER_TOKEN);
    if (more.source !== 'store') {
      // The store is away: nothing is held back of what decides meanwhile.
      if (taken > 0) await this.store.run({ verb: 'put', source: more.source, takes: [{ ...take, amount: taken }] });
      return this.store.run({ verb: 'take', takes: [take] });
    }
    lease.left += taken;
    lease.answer = plainAnswer(more);
    if (lease.left >= take.amount) return spend(lease, take);
    const rest = await this.store.run({ verb: 'take', takes: [{ ...take, amount: take.amount - lease.left }] });
    if (!rest.allowed) return rest;
    lease.left = take.amount;
    lease.answer = plainAnswer(rest);
    return spend(lease, take);
  }

  /** What needs to see the whole bucket: first this process gives back what it holds of it. */
  private async runWithAll(request: StoreRequest): Promise<StoreAnswer> {
    for (const take of request.takes) {
      const lease = this.leases.get(bucketName(take));
      if (lease) await this.giveBack(lease);
    }
    return this.store.run(request);
  }

  private async giveBack(lease: Lease): Promise<void> {
    await lease.asking?.catch(() => {});
    const { take, left } = lease;
    if (this.leases.get(bucketName(take)) !== lease) return;
    this.leases.delete(bucketName(take));
    lease.left = 0;
    if (left > 0) await this.store.run({ verb: 'put', takes: [{ ...take, amount: left }] });
  }

  private async returnIdle(idle: number): Promise<void> {
    const now = this.clock.now();
    const over = [...this.leases.values()].filter(({ usedAt, asking }) => !asking && now - usedAt >= idle);
    // What cannot be given back now is lost to all until the bucket has refilled.
    await Promise.allSettled(over.map((lease) => this.giveBack(lease)));
  }
}

/** These are right whatever a process holds. */
const STAYS: ReadonlySet<string> = new Set(['put', 'charge', 'cancel']);

function isLeased(takes: readonly Take[]): boolean {
  for (const { policy } of takes) if (policy.lease > 0) return true;
  return false;
}

/** Spends what is held here; the answer shows what is left here and was left there. */
function spend(lease: Lease, take: Take): StoreAnswer {
  lease.left -= take.amount;
  const { left } = lease;
  const known = lease.answer as StoreAnswer;
  const balance = known.balance + left / AMOUNT_PER_TOKEN;
  const remaining = Math.max(0, balance);
  return {
    ...known,
    allowed: true,
    remaining,
    retryAfter: 0,
    delay: 0,
    source: 'cache',
    limits: known.limits.map((limit) => ({
      ...limit,
      remaining: Math.min(limit.limit, limit.remaining + left / AMOUNT_PER_TOKEN),
      retryAfter: 0,
    })),
    balance,
    taken: take.amount / AMOUNT_PER_TOKEN,
    actAt: undefined,
  };
}
